// Embeds files into the program: the assembler puts a file's bytes between two symbols, because
// C++20 has no #embed. The build names the files.
#pragma once

#include <string_view>

// Defines assay::name(), which is declared elsewhere: the bytes of `file`, a string literal.
#define ASSAY_EMBED(name, file)                                                           \
  __asm__(                                                                                \
      ".pushsection .rodata\n"                                                            \
      ".hidden assay_asset_" #name                                                        \
      "\n"                                                                                \
      ".hidden assay_asset_" #name                                                        \
      "_end\n"                                                                            \
      ".global assay_asset_" #name                                                        \
      "\n"                                                                                \
      ".global assay_asset_" #name                                                        \
      "_end\n"                                                                            \
      "assay_asset_" #name                                                                \
      ":\n"                                                                               \
      ".incbin \"" file                                                                   \
      "\"\n"                                                                              \
      "assay_asset_" #name                                                                \
      "_end:\n"                                                                           \
      ".popsection\n");                                                                   \
  extern "C" __attribute__((visibility("hidden"))) const char assay_asset_##name[];       \
  extern "C" __attribute__((visibility("hidden"))) const char assay_asset_##name##_end[]; \
  std::string_view assay::name() { return {assay_asset_##name, assay_asset_##name##_end}; }
