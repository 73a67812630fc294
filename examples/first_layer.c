/*
 * The beginning of a port to C: embedding, first RMSNorm, first projection, checked by Assay.
 *
 *   cc first_layer.c $(pkg-config --cflags --libs assay) -lm -o first_layer
 *   assay extract --numerics bf16,f64 --taps 'layer_00_*' --prompt Hello --out reference_data
 *   ASSAY_REFERENCE=reference_data ./first_layer tiny-qwen3/model.safetensors 41 80 263
 *
 * Without ASSAY_REFERENCE the checks do nothing. --wrong plants a mistake.
 */
#include <assay.h>
#include <math.h>

#include "tiny_safetensors.h"

/* x: [tokens, columns]. Qwen3's: the root mean square of the row, then the weight. */
static void rms_norm(const float* x, struct tensor weight, long tokens, int wrong, float* out) {
  for (long t = 0; t < tokens; ++t, x += weight.columns, out += weight.columns) {
    double sum = 0;
    for (long i = 0; i < weight.columns; ++i) sum += (double)x[i] * x[i];
    const float scale = (float)(1 / sqrt(sum / (double)weight.columns + 1e-6));
    for (long i = 0; i < weight.columns; ++i) {
      out[i] = x[i] * scale * (wrong ? 1 : from_bf16(weight.bf16[i]));
    }
  }
}

/* out: [tokens, rows of the weight] */
static void project(const float* x, struct tensor weight, long tokens, float* out) {
  for (long t = 0; t < tokens; ++t, x += weight.columns) {
    for (long r = 0; r < weight.rows; ++r) {
      float sum = 0;
      for (long i = 0; i < weight.columns; ++i) {
        sum += x[i] * from_bf16(weight.bf16[r * weight.columns + i]);
      }
      *out++ = sum;
    }
  }
}

int main(int argc, char** argv) {
  const int wrong = argc > 1 && strcmp(argv[1], "--wrong") == 0;
  char** arguments = argv + 1 + wrong;
  const long tokens = argc - 2 - wrong;
  if (tokens < 1) return fprintf(stderr, "first_layer [--wrong] MODEL.safetensors ID...\n"), 2;
  const struct checkpoint model = open_checkpoint(arguments[0]);
  const struct tensor embedding = find_tensor(model, "model.embed_tokens.weight");
  const struct tensor norm = find_tensor(model, "model.layers.0.input_layernorm.weight");
  const struct tensor q_proj = find_tensor(model, "model.layers.0.self_attn.q_proj.weight");

  assay_checker* checker = assay_open_environment();
  int64_t* ids = malloc((size_t)tokens * sizeof *ids);
  for (long t = 0; t < tokens; ++t) ids[t] = strtol(arguments[1 + t], NULL, 10);
  assay_check(checker, "input_ids", ids, ASSAY_I64, 1, (int64_t[]){tokens}, NULL, NULL);

  const long width = embedding.columns;
  float* x = malloc((size_t)(tokens * width) * sizeof *x);
  for (long t = 0; t < tokens; ++t) {
    for (long i = 0; i < width; ++i) {
      x[t * width + i] = from_bf16(embedding.bf16[ids[t] * width + i]);
    }
  }
  assay_check(checker, "embedding_output", x, ASSAY_F32, 2, (int64_t[]){tokens, width}, NULL, NULL);

  float* normed = malloc((size_t)(tokens * width) * sizeof *normed);
  rms_norm(x, norm, tokens, wrong, normed);
  assay_check(checker, "layer_00_input_norm", normed, ASSAY_F32, 2, (int64_t[]){tokens, width},
              NULL, NULL);

  float* q = malloc((size_t)(tokens * q_proj.rows) * sizeof *q);
  project(normed, q_proj, tokens, q);
  assay_check(checker, "layer_00_q_proj", q, ASSAY_F32, 2, (int64_t[]){tokens, q_proj.rows}, NULL,
              NULL);

  printf("computed %ld tokens\n", tokens);
  return assay_close(checker) == ASSAY_FAIL;
}
