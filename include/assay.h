/*
 * Assay from inside a running engine, in any language that can call C.
 *
 *   assay_checker* checker = assay_open_environment();   // NULL unless ASSAY_... is set
 *   ...
 *   assay_check(checker, "layer_00_output", x, ASSAY_F32, 2, (int64_t[]){5, 1024}, NULL, NULL);
 *   ...
 *   assay_close(checker);                                // prints the report
 *
 * Every function takes a NULL checker and does nothing: the calls can stay in production code.
 * One checker is one run over one prompt. All functions may be called from several threads.
 * No function ends the process unless `stop` or ASSAY_STOP asks for that. Two things outside of
 * Assay may: a file of the reference that is cut short while a checker is open (reading it is a
 * SIGBUS, which Assay leaves alone), and libraries that end it when memory runs out
 * (docs/security.md).
 * docs/checking-in-process.md shows engines in C, C++, Rust and Python.
 */
#ifndef ASSAY_H
#define ASSAY_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define ASSAY_API __attribute__((visibility("default")))
#else
#define ASSAY_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct assay_checker assay_checker;

/* Element types. The numbers never change. */
typedef enum assay_dtype {
  ASSAY_BOOL = 0,
  ASSAY_U8 = 1,
  ASSAY_I8 = 2,
  ASSAY_I16 = 3,
  ASSAY_I32 = 4,
  ASSAY_I64 = 5,
  ASSAY_F8_E4M3 = 6, /* OCP's "fn" variant */
  ASSAY_F8_E5M2 = 7,
  ASSAY_F16 = 8,
  ASSAY_BF16 = 9,
  ASSAY_F32 = 10,
  ASSAY_F64 = 11,
  ASSAY_U16 = 12,
  ASSAY_U32 = 13,
  ASSAY_U64 = 14
} assay_dtype;

/* The numbers never change. */
typedef enum assay_verdict {
  ASSAY_PASS = 0,
  ASSAY_FAIL = 1,
  ASSAY_NOT_COMPARED = 2, /* only recorded; not in the reference; already passed; no checker */
  ASSAY_ERROR = 3, /* wrong arguments, shapes that fit no reading, files that cannot be used */
  ASSAY_COARSE = 4 /* within BF16's noise, but less accurate than the values' own type allows:
                      something is computed in a coarser type, or is slightly wrong */
} assay_verdict;

/* What happens at the first tensor that fails. */
typedef enum assay_stop {
  ASSAY_STOP_NEVER = 0, /* nothing: the program acts on the verdicts */
  ASSAY_STOP_EXIT = 1,  /* report and record are written, then _Exit(1) */
  ASSAY_STOP_ABORT = 2  /* the same, then abort(): a debugger shows the operation */
} assay_stop;

/* NULL strings and zeros stand for the defaults. Fields are only ever added at the end. */
typedef struct assay_options {
  size_t size;           /* sizeof(assay_options) */
  const char* reference; /* a reference_data directory, or one file of arrays; NULL: none */
  const char* prompt;    /* id; NULL: the only one, or the one whose input_ids are handed over */
  const char* record;    /* .npz to be written by assay_close; NULL: none */
  const char* map;       /* names to taps, as `assay compare --map`; NULL: all known maps */
  const char* profile;   /* "noise", "table" or a .json file; NULL: noise */
  double tolerance;      /* relative L2 for every tap, instead of a profile; 0: none */
  int stop;              /* assay_stop */
  int print;      /* not 0: failures as they occur, and assay_close's report, go to the reporter */
  const char* as; /* the type to expect: "f32" or "bf16"; NULL: what the values show */
  int strict;     /* not 0: what is coarse counts as failed in assay_close and for `stop` */
  const char* model; /* the checkpoint that the engine runs: a reference made from a different one
                        is refused; NULL: not checked */
} assay_options;

/* How far a tensor lies from the reference's; docs/validating-your-engine.md explains. */
typedef struct assay_result {
  size_t size; /* sizeof(assay_result), set by the caller */
  assay_verdict verdict;
  const char* tap;     /* the tap that it was compared with, NULL if none */
  const char* message; /* why it is not a pass; "" for a pass. Both texts live until this thread's
                          next call */
  int64_t compared;    /* elements */
  double relative_l2;
  double cosine;
  double mse;
  double max_abs;
  double noise_ratio; /* NaN without an oracle */
  double mean_ulp;    /* BF16 steps */
  int64_t max_ulp;
} assay_result;

/* "0.1.0" */
ASSAY_API const char* assay_version(void);

/*
 * Takes what would go to standard error: one or more whole lines, UTF-8 without control characters
 * except line feeds. The text lives until the function returns. The function runs in the thread
 * that called Assay, in only one thread at a time. It must return (no exception, no longjmp) and
 * must not call Assay.
 */
typedef void (*assay_reporter)(const char* text, void* user);

/*
 * From now on, `reporter` is called with `user`, for all checkers of the process; NULL: standard
 * error again. Once this returns, the previous reporter is no longer called.
 */
ASSAY_API void assay_set_reporter(assay_reporter reporter, void* user);

/* Opens what the options name. NULL when that is impossible: assay_message says why. */
ASSAY_API assay_checker* assay_open(const assay_options* options);

/*
 * The same from environment variables; print is on. NULL when neither ASSAY_REFERENCE nor
 * ASSAY_RECORD is set. When one is set but cannot be used, the reason is reported and the check is
 * not silently skipped: with ASSAY_STOP, the process ends with exit code 3. Without it, assay_wants
 * returns 0 for the returned checker, and every other call with it, including assay_close, returns
 * ASSAY_ERROR with that reason.
 *   ASSAY_REFERENCE, ASSAY_RECORD, ASSAY_PROMPT, ASSAY_MAP, ASSAY_PROFILE, ASSAY_AS, ASSAY_MODEL
 *   ASSAY_STRICT 1: what is coarse fails
 *   ASSAY_STOP   1: ASSAY_STOP_EXIT, abort: ASSAY_STOP_ABORT
 */
ASSAY_API assay_checker* assay_open_environment(void);

/*
 * Not 0 when a tensor of that name would be compared or recorded: ask before copying one from a
 * device.
 */
ASSAY_API int assay_wants(const assay_checker* checker, const char* name);

/*
 * The forward pass that follows computes positions [first, first + count) of the sequence. Call it
 * before each pass of an engine that runs a prompt in pieces, or that goes on to decode; the
 * tensors passed then hold only these positions; input_ids may too. If the run's input_ids have
 * padding before the prompt, positions count it; positions that do not are recognised by
 * content. Without this call every tensor is the whole prompt's, and a second tensor of the same
 * name, or a piece of one, is not compared: open the checker after a warm-up pass.
 */
ASSAY_API assay_verdict assay_set_positions(assay_checker* checker, int64_t first, int64_t count);

/*
 * Hands over one tensor and compares it at once.
 *   name     tap name, or any name that the map knows
 *   data     element 0 in host memory; the elements are read before the call returns
 *   dtype    one of assay_dtype
 *   rank     number of axes, at most 16
 *   shape    their extents; batch axes of 1 may be missing, heads split or joined
 *   strides  elements (not bytes) from one to the next along each axis; NULL: row-major
 *   result   filled in unless NULL
 * "input_ids" (any integer type) chooses the prompt of a reference with several, and comes first
 * then. "generated_ids" is prompt and greedy continuation.
 */
ASSAY_API assay_verdict assay_check(assay_checker* checker, const char* name, const void* data,
                                    int dtype, int rank, const int64_t* shape,
                                    const int64_t* strides, assay_result* result);

/*
 * The report on everything handed over so far, as `assay compare` prints it, or as its --json.
 * The text lives until this thread's next call. NULL without a checker, and where there is no
 * report (assay_message says why).
 */
ASSAY_API const char* assay_report_text(const assay_checker* checker);
ASSAY_API const char* assay_report_json(const assay_checker* checker);

/*
 * Writes the record, prints the report if asked to, and frees the checker. ASSAY_FAIL when any
 * tensor failed in the report (one that later tensors show to be no fault of the engine, all zeros
 * before right ones for instance, is not compared there), ASSAY_COARSE when none did but some are
 * coarse (ASSAY_FAIL if strict), ASSAY_NOT_COMPARED when none was compared, ASSAY_ERROR when the
 * record could not be written or a tensor could not be read.
 */
ASSAY_API assay_verdict assay_close(assay_checker* checker);

/* What went wrong in this thread's last call; "" if nothing did. */
ASSAY_API const char* assay_message(void);

#ifdef __cplusplus
}
#endif

#endif /* ASSAY_H */
