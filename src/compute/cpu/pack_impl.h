/* pack_impl.h - how a level packs the factors of products: values widened to f32, panels copied or transposed.
 * Part of kernels_impl.h, which has the widths MR and NR.
 */

/* n values of a 16-bit type, or f32, as f32; exact. */
static void widen(float *restrict dst, const void *src, tensor_type type, size_t n) {
  const uint16_t *h = src;
  size_t i = 0;
  if (type == T_F32) {
    memcpy(dst, src, n * sizeof(float));
  } else if (type == T_BF16) {
    for (; i < n; i++) dst[i] = half_from_bf16(h[i]);
  } else {
#if defined(__F16C__)
    for (; i + 8 <= n; i += 8)
      _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(h + i))));
#endif
    for (; i < n; i++) dst[i] = half_from_f16(h[i]);
  }
}

/* Transposes n <= r rows of kn values into one panel: dst[k*r + i] = src[i*ld + k]. Rows n to r stay as they are.
 */
#if defined(__AVX512F__)
static inline void transpose_panel(float *dst, const size_t r, const float *src, size_t ld, size_t n, size_t kn) {
  for (size_t i0 = 0; i0 < n; i0 += 16) {
    size_t rows = n - i0 < 16 ? n - i0 : 16;
    __mmask16 lanes = (__mmask16)((1u << rows) - 1);
    for (size_t k0 = 0; k0 < kn; k0 += 16) {
      size_t kw = kn - k0 < 16 ? kn - k0 : 16;
      __mmask16 some = (__mmask16)((1u << kw) - 1);
      __m512 x[16];
#pragma GCC unroll 16
      for (size_t i = 0; i < 16; i++)
        x[i] = i < rows ? _mm512_maskz_loadu_ps(some, src + (i0 + i) * ld + k0) : _mm512_setzero_ps();
      transpose16(x);
#pragma GCC unroll 16
      for (size_t k = 0; k < 16; k++)
        if (k < kw) _mm512_mask_storeu_ps(dst + (k0 + k) * r + i0, lanes, x[k]);
    }
  }
}
#else
static inline void transpose_panel(float *dst, const size_t r, const float *src, size_t ld, size_t n, size_t kn) {
  size_t i0 = 0;
#if defined(__AVX2__)
  size_t whole = kn & ~(size_t)7;
  for (; i0 + 4 <= n; i0 += 4) {
    for (size_t k = 0; k < whole; k += 4) {
      const float *s = src + i0 * ld + k;
      float *o = dst + k * r + i0;
      __m128 a = _mm_loadu_ps(s), b = _mm_loadu_ps(s + ld), c = _mm_loadu_ps(s + 2 * ld),
             d = _mm_loadu_ps(s + 3 * ld);
      _MM_TRANSPOSE4_PS(a, b, c, d);
      _mm_storeu_ps(o, a);
      _mm_storeu_ps(o + r, b);
      _mm_storeu_ps(o + 2 * r, c);
      _mm_storeu_ps(o + 3 * r, d);
    }
    for (size_t k = whole; k < kn; k++)
      for (size_t i = i0; i < i0 + 4; i++) dst[k * r + i] = src[i * ld + k];
  }
#endif
  for (; i0 < n; i0++)
    for (size_t k = 0; k < kn; k++) dst[k * r + i0] = src[i0 * ld + k];
}
#endif

/* Panels whose index runs along the source's rows: row k gives r values to each. All panels of a row before the
 * next row: a source row is one page or more. */
static inline void copy_panels(float *dst, size_t ld, const size_t r, const float *src, size_t sk, size_t n,
                               size_t kn) {
  for (size_t k = 0; k < kn; k++, src += sk, dst += r) {
    const float *s = src;
    float *d = dst;
    size_t left = n;
    for (size_t i = 0; i < n; i += 16) __builtin_prefetch(src + 8 * sk + i); /* pieces of rows: nobody else does */
    for (; left >= r; left -= r, s += r, d += ld)
      for (size_t i = 0; i < r; i++) d[i] = s[i];
    for (size_t i = 0; i < left; i++) d[i] = s[i];
  }
}

static void transpose(float *dst, size_t r, const float *src, size_t ld, size_t n, size_t kn) {
  transpose_panel(dst, r, src, ld, n, kn);
}

static inline void pack_width(float *dst, size_t ld, const size_t r, const void *src, tensor_type type, size_t si,
                              size_t sk, size_t n, size_t kn) {
  enum { WIDE = 256 }; /* 16-bit values are widened this many of a row at a time */
  if (n % r) memset(dst + n / r * ld, 0, kn * r * sizeof(float));
  if (si == 1 && type == T_F32) {
    copy_panels(dst, ld, r, src, sk, n, kn);
  } else if (si == 1) {
    for (size_t i = 0; i < n; i += r, dst += ld)
      for (size_t k = 0; k < kn; k++)
        widen(dst + k * r, (const uint16_t *)src + i + k * sk, type, n - i < r ? n - i : r);
  } else if (type == T_F32) {
    for (size_t i = 0; i < n; i += r, dst += ld)
      transpose_panel(dst, r, (const float *)src + i * si, si, n - i < r ? n - i : r, kn);
  } else {
    float wide[NR /* the larger */ * WIDE];
    for (size_t i = 0; i < n; i += r, dst += ld)
      for (size_t k = 0; k < kn; k += WIDE) {
        size_t rows = n - i < r ? n - i : r, kw = kn - k < WIDE ? kn - k : WIDE;
        for (size_t row = 0; row < rows; row++)
          widen(wide + row * WIDE, (const uint16_t *)src + (i + row) * si + k, type, kw);
        transpose_panel(dst + k * r, r, wide, WIDE, rows, kw);
      }
  }
}

static void pack(float *dst, size_t ld, int r, const void *src, tensor_type type, size_t si, size_t sk, size_t n,
                 size_t kn) {
  if (r == MR) /* constant widths, for the copies' sake */
    pack_width(dst, ld, MR, src, type, si, sk, n, kn);
  else
    pack_width(dst, ld, NR, src, type, si, sk, n, kn);
}
