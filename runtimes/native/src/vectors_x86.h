/* Vectors of the x86 kernels that are compiled twice: for AVX2 with 32 bytes, else for SSE4.1 with 16.
 *
 * V(name) is the intrinsic of the width; those that do not differ by name alone are functions here.
 */
#ifndef EDGELM_VECTORS_X86_H
#define EDGELM_VECTORS_X86_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX2__)
typedef __m256i vec;
typedef __m256 floats;
#define V(name) _mm256_##name
#define ALL(name) _mm256_##name##_si256 /* of all bits at once */
static inline vec table_at(const void* p) { return _mm256_broadcastsi128_si256(_mm_loadu_si128(p)); }
static inline __m128i half_of(vec v, size_t half) {
  return half ? _mm256_extracti128_si256(v, 1) : _mm256_castsi256_si128(v);
}
#else
typedef __m128i vec;
typedef __m128 floats;
#define V(name) _mm_##name
#define ALL(name) _mm_##name##_si128
static inline vec table_at(const void* p) { return _mm_loadu_si128(p); }
static inline __m128i half_of(vec v, size_t half) { return half ? _mm_unpackhi_epi64(v, v) : v; }
#endif

enum { BYTES = sizeof(vec), WORDS = BYTES / 4 };

static inline vec load(const void* p) { return ALL(loadu)(p); }
static inline void store(void* p, vec v) { ALL(storeu)(p, v); }
static inline vec zero(void) { return ALL(setzero)(); }
static inline vec broadcast(const uint8_t* p) {
  int32_t word;
  memcpy(&word, p, sizeof word);
  return V(set1_epi32)(word);
}

/* Keeps what it is given in registers here: compilers move loads up until sums are spilled. */
#define PIN(v) __asm__("" : "+x"(v))

/* The i-th quarter of a vector of bytes, or of the two into which V(unpacklo_*) and V(unpackhi_*) put its 16-bit
 * values, as words of 32 bits. */
static inline vec quarter8(vec bytes, size_t i) {
#if defined(__AVX2__)
  const __m128i half = half_of(bytes, i / 2);
  return _mm256_cvtepu8_epi32(i % 2 ? _mm_unpackhi_epi64(half, half) : half);
#else
  return _mm_cvtepu8_epi32(_mm_cvtsi32_si128(i == 0   ? _mm_extract_epi32(bytes, 0)
                                             : i == 1 ? _mm_extract_epi32(bytes, 1)
                                             : i == 2 ? _mm_extract_epi32(bytes, 2)
                                                      : _mm_extract_epi32(bytes, 3)));
#endif
}
static inline vec quarter16(vec low, vec high, size_t i) {
#if defined(__AVX2__) /* unpacking stays within halves: `low` has the lanes 0-7 and 16-23 */
  return _mm256_cvtepu16_epi32(half_of(i % 2 ? high : low, i / 2));
#else
  return _mm_cvtepu16_epi32(half_of(i / 2 ? high : low, i % 2));
#endif
}

#endif
