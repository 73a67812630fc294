// The same port in Rust, without crates.
//
//   rustc -O first_layer.rs -L native=$LIBDIR -l assay
//   ASSAY_REFERENCE=reference_data ./first_layer [--wrong] MODEL.safetensors ID...
use std::convert::TryInto;
use std::ffi::CString;
use std::os::raw::{c_char, c_int, c_void};

mod ffi {
    use super::*;
    #[repr(C)]
    pub struct Checker {
        _private: [u8; 0],
    }
    extern "C" {
        pub fn assay_open_environment() -> *mut Checker;
        pub fn assay_check(
            checker: *mut Checker,
            name: *const c_char,
            data: *const c_void,
            dtype: c_int,
            rank: c_int,
            shape: *const i64,
            strides: *const i64,
            result: *mut c_void,
        ) -> c_int;
        pub fn assay_close(checker: *mut Checker) -> c_int;
    }
}

const I64: c_int = 5;
const F32: c_int = 10;
const FAIL: c_int = 1;

/// Null when no environment variable asks for a check: every call then does nothing.
struct Checker(*mut ffi::Checker);

impl Checker {
    fn check<T>(&self, name: &str, data: &[T], dtype: c_int, shape: &[i64]) {
        assert_eq!(data.len() as i64, shape.iter().product::<i64>());
        let name = CString::new(name).unwrap();
        // The library reads data.len() elements, before it returns.
        unsafe {
            ffi::assay_check(
                self.0,
                name.as_ptr(),
                data.as_ptr() as *const c_void,
                dtype,
                shape.len() as c_int,
                shape.as_ptr(),
                std::ptr::null(),
                std::ptr::null_mut(),
            );
        }
    }

    fn close(self) -> c_int {
        unsafe { ffi::assay_close(self.0) }
    }
}

struct Checkpoint {
    header: String,
    data: Vec<u8>,
}

impl Checkpoint {
    fn open(path: &str) -> Checkpoint {
        let bytes = std::fs::read(path).expect("a checkpoint");
        let size = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        Checkpoint {
            header: String::from_utf8(bytes[8..8 + size].to_vec()).unwrap(),
            data: bytes[8 + size..].to_vec(),
        }
    }

    /// A BF16 tensor's elements.
    fn tensor(&self, name: &str) -> Vec<f32> {
        let entry = self.header.split(&format!("\"{}\":{{", name)).nth(1).expect("the tensor");
        let offsets = entry.split("\"data_offsets\":[").nth(1).unwrap();
        let offsets: Vec<usize> = offsets[..offsets.find(']').unwrap()]
            .split(',')
            .map(|n| n.parse().unwrap())
            .collect();
        self.data[offsets[0]..offsets[1]]
            .chunks(2)
            .map(|b| f32::from_bits((u16::from_le_bytes([b[0], b[1]]) as u32) << 16))
            .collect()
    }
}

fn rms_norm(x: &[f32], weight: &[f32]) -> Vec<f32> {
    let width = weight.len();
    let mut out = Vec::new();
    for row in x.chunks(width) {
        let mean = row.iter().map(|v| (*v as f64).powi(2)).sum::<f64>() / width as f64;
        let scale = (1.0 / (mean + 1e-6).sqrt()) as f32;
        out.extend(row.iter().zip(weight).map(|(v, w)| v * scale * w));
    }
    out
}

/// weight: [rows, columns]
fn project(x: &[f32], weight: &[f32], columns: usize) -> Vec<f32> {
    let mut out = Vec::new();
    for row in x.chunks(columns) {
        for w in weight.chunks(columns) {
            out.push(row.iter().zip(w).map(|(a, b)| a * b).sum());
        }
    }
    out
}

fn main() {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let wrong = words.first().map_or(false, |word| word == "--wrong");
    if wrong {
        words.remove(0);
    }
    let model = Checkpoint::open(&words[0]);
    let ids: Vec<i64> = words[1..].iter().map(|id| id.parse().unwrap()).collect();
    let embedding = model.tensor("model.embed_tokens.weight");
    let norm = model.tensor("model.layers.0.input_layernorm.weight");
    let q_proj = model.tensor("model.layers.0.self_attn.q_proj.weight");
    let (tokens, width) = (ids.len() as i64, norm.len());

    let checker = Checker(unsafe { ffi::assay_open_environment() });
    checker.check("input_ids", &ids, I64, &[tokens]);
    let mut x = Vec::new();
    for id in &ids {
        x.extend_from_slice(&embedding[*id as usize * width..][..width]);
    }
    checker.check("embedding_output", &x, F32, &[tokens, width as i64]);
    let normed = rms_norm(&x, &norm);
    checker.check("layer_00_input_norm", &normed, F32, &[tokens, width as i64]);
    // The mistake: the projection reads what was there before the norm.
    let q = project(if wrong { &x } else { &normed }, &q_proj, width);
    checker.check("layer_00_q_proj", &q, F32, &[tokens, (q_proj.len() / width) as i64]);
    std::process::exit((checker.close() == FAIL) as i32);
}
