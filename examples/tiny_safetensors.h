/* The least that reads a BF16 tensor of a .safetensors file. A real engine checks what it reads. */
#ifndef TINY_SAFETENSORS_H
#define TINY_SAFETENSORS_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct checkpoint {
  char* header;
  uint16_t* data;
};

struct tensor {
  const uint16_t* bf16;
  long rows, columns; /* of a vector: 1 row */
};

static struct checkpoint open_checkpoint(const char* path) {
  FILE* file = fopen(path, "rb");
  uint64_t size = 0;
  if (file == NULL || fread(&size, 8, 1, file) != 1) exit(3);
  char* header = (char*)malloc(size + 1);
  if (fread(header, 1, size, file) != size) exit(3);
  header[size] = 0;
  fseek(file, 0, SEEK_END);
  const long bytes = ftell(file) - 8 - (long)size;
  fseek(file, 8 + (long)size, SEEK_SET);
  uint16_t* data = (uint16_t*)malloc((size_t)bytes);
  if (fread(data, 1, (size_t)bytes, file) != (size_t)bytes) exit(3);
  fclose(file);
  struct checkpoint result = {header, data};
  return result;
}

static struct tensor find_tensor(struct checkpoint from, const char* name) {
  char key[256];
  snprintf(key, sizeof key, "\"%s\":{\"dtype\":\"BF16\",\"shape\":[", name);
  const char* at = strstr(from.header, key);
  if (at == NULL) exit(3);
  char* end;
  const long first = strtol(at + strlen(key), &end, 10);
  struct tensor result = {NULL, 1, first};
  if (*end == ',') {
    result.rows = first;
    result.columns = strtol(end + 1, NULL, 10);
  }
  result.bf16 = from.data + strtol(strstr(end, "[") + 1, NULL, 10) / 2;
  return result;
}

static float from_bf16(uint16_t x) {
  const uint32_t bits = (uint32_t)x << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

#endif
