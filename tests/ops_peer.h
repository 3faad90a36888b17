/* ops_peer.h - oneDNN's matrix product of bf16 factors that lie as it wants them, with f32 sums: the machine's
 * limit for bf16, for check_ops.c. By the library's version 2 (Debian 12) or 3.
 */
#ifndef TESTS_OPS_PEER_H
#define TESTS_OPS_PEER_H

#include <oneapi/dnnl/dnnl.h>
#include <stdbool.h>
#include <string.h>

typedef struct {
  dnnl_engine_t engine;
  dnnl_stream_t stream;
  dnnl_primitive_t product;
  dnnl_exec_arg_t arg[3];
} peer;

#if DNNL_VERSION_MAJOR >= 3
static bool peer_describe(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const dnnl_dims_t dims[3]) {
  dnnl_memory_desc_t md[3] = {0};
  bool ok = true;
  for (int i = 0; ok && i < 3; i++)
    ok = dnnl_memory_desc_create_with_tag(&md[i], 2, dims[i], i == 2 ? dnnl_f32 : dnnl_bf16,
                                          i == 1 ? dnnl_format_tag_any : dnnl_ab) == dnnl_success;
  ok = ok && dnnl_matmul_primitive_desc_create(pd, engine, md[0], md[1], NULL, md[2], NULL) == dnnl_success;
  for (int i = 0; i < 3; i++)
    if (md[i]) dnnl_memory_desc_destroy(md[i]);
  return ok;
}
typedef const_dnnl_memory_desc_t peer_layout;
#else
static bool peer_describe(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, const dnnl_dims_t dims[3]) {
  dnnl_memory_desc_t md[3];
  dnnl_matmul_desc_t desc;
  bool ok = true;
  for (int i = 0; ok && i < 3; i++)
    ok = dnnl_memory_desc_init_by_tag(&md[i], 2, dims[i], i == 2 ? dnnl_f32 : dnnl_bf16,
                                      i == 1 ? dnnl_format_tag_any : dnnl_ab) == dnnl_success;
  return ok && dnnl_matmul_desc_init(&desc, &md[0], &md[1], NULL, &md[2]) == dnnl_success &&
         dnnl_primitive_desc_create(pd, &desc, NULL, engine, NULL) == dnnl_success;
}
typedef const dnnl_memory_desc_t *peer_layout;
#endif

static bool peer_open(peer *p, size_t m, size_t in, size_t out) {
  const dnnl_dims_t dims[3] = {
      {(dnnl_dim_t)m, (dnnl_dim_t)in}, {(dnnl_dim_t)in, (dnnl_dim_t)out}, {(dnnl_dim_t)m, (dnnl_dim_t)out}};
  dnnl_primitive_desc_t pd = NULL;
  bool ok = dnnl_engine_create(&p->engine, dnnl_cpu, 0) == dnnl_success &&
            dnnl_stream_create(&p->stream, p->engine, dnnl_stream_default_flags) == dnnl_success &&
            peer_describe(&pd, p->engine, dims) && dnnl_primitive_create(&p->product, pd) == dnnl_success;
  static const dnnl_query_t query[3] = {dnnl_query_src_md, dnnl_query_weights_md, dnnl_query_dst_md};
  static const int as[3] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST};
  for (int i = 0; ok && i < 3; i++) {
    void *at;
    peer_layout layout = dnnl_primitive_desc_query_md(pd, query[i], 0);
    p->arg[i].arg = as[i];
    ok = dnnl_memory_create(&p->arg[i].memory, layout, p->engine, DNNL_MEMORY_ALLOCATE) == dnnl_success &&
         dnnl_memory_get_data_handle(p->arg[i].memory, &at) == dnnl_success;
    if (ok) memset(at, 0, dnnl_memory_desc_get_size(layout));
  }
  if (pd) dnnl_primitive_desc_destroy(pd);
  return ok;
}

static void peer_close(peer *p) {
  for (int i = 0; i < 3; i++) dnnl_memory_destroy(p->arg[i].memory);
  dnnl_primitive_destroy(p->product);
  dnnl_stream_destroy(p->stream);
  dnnl_engine_destroy(p->engine);
}

#endif
