// Which instruction sets the processor has and the operating system saves.
//
// Not __builtin_cpu_supports: it needs a table that the compiler's own library fills, and zig's
// library says no to everything.
#ifndef NOISE_FLOW_PROCESSOR_H
#define NOISE_FLOW_PROCESSOR_H

#if defined(__x86_64__)
#include <cpuid.h>

namespace {

// The features of leaf 7, subleaf 0, in EBX, if all registers of `state` (XCR0) are saved.
bool processor_has(unsigned features, unsigned state) {
  const unsigned needed = bit_FMA | bit_OSXSAVE | bit_AVX;
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || (c & needed) != needed) return false;
  unsigned low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  if ((low & state) != state) return false;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & features) == features;
}

bool has_avx2() { return processor_has(bit_AVX2, 0x06); }

bool has_avx512() {
  return processor_has(bit_AVX2 | bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL, 0xe6);
}

}  // namespace
#endif

#endif
