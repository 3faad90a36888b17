/* parquet.cc - the only C++ file, and all of libreward-parquet.so (parquet_plugin.h) but status.c: Parquet files in
 * and out by Arrow's library, taken from the pyarrow wheel in .deps/.
 *
 * Reading is by batches of rows, with a buffer per column, so memory does not grow with the file; one dictionary
 * page and one row must fit. Every batch is checked whole before C sees it. Writing: zstd, one row group a batch,
 * no time stamps, so the same rows give the same bytes.
 */
extern "C" {
#include "format/parquet_plugin.h"
}

#include <arrow/api.h>
#include <arrow/c/bridge.h>
#include <arrow/io/file.h>
#include <parquet/arrow/reader.h>
#include <parquet/arrow/writer.h>

#include <algorithm>
#include <exception>
#include <memory>
#include <new>
#include <string>

namespace {

constexpr int64_t BATCH_ROWS = 256, COLUMN_BUFFER = 1 << 18;
constexpr int ZSTD_LEVEL = 3;

std::string one_line(std::string s) {
  std::replace(s.begin(), s.end(), '\n', ' ');
  return s.substr(0, 400);
}

/* Runs f, which gives an arrow::Status; *why says what failed. */
template <class F>
rw_status guarded(std::string *why, F f) {
  try {
    arrow::Status s = f();
    if (s.ok()) return RW_OK;
    *why = one_line(s.message());
    return s.IsOutOfMemory() ? RW_NOMEM : s.IsNotImplemented() ? RW_UNSUPPORTED : RW_DATA;
  } catch (const std::bad_alloc &) {
    *why = "memory ran out";
    return RW_NOMEM;
  } catch (const std::exception &e) {
    *why = one_line(e.what());
    return RW_DATA;
  }
}

/* Arrow's stream over a file_out. */
class stream final : public arrow::io::OutputStream {
 public:
  stream(file_out *f, parquet_sink write) : f_(f), write_(write) {}
  ~stream() override = default;
  arrow::Status Close() override { return closed_ = true, arrow::Status::OK(); }
  bool closed() const override { return closed_; }
  arrow::Result<int64_t> Tell() const override { return at_; }
  arrow::Status Write(const void *p, int64_t n) override {
    rw_error e;
    if (write_(f_, p, (size_t)n, &e)) return arrow::Status::IOError(e.text);
    at_ += n;
    return arrow::Status::OK();
  }

 private:
  file_out *f_;
  parquet_sink write_;
  int64_t at_ = 0;
  bool closed_ = false;
};

/* Pages say how large they are unpacked, and 700 bytes may say 2 GB. What a file may take: this much and a multiple
 * of its size, far above what writers make. */
constexpr int64_t MEMORY_BASE = 1 << 30, MEMORY_RATIO = 16;

struct parquet_reader {
  std::string path;
  std::unique_ptr<arrow::CappedMemoryPool> pool; /* before what allocates from it: freed last */
  std::unique_ptr<parquet::arrow::FileReader> file;
  std::shared_ptr<arrow::RecordBatchReader> batches;
  uint64_t row = 0;
};

rw_status too_large(const char *path, rw_error *err) {
  return rw_fail(
      err, RW_NOMEM,
      "%s: a page asks for more memory than there is, or than a sound file of this size needs; fetch the file "
      "again, or write it with smaller pages",
      path);
}

rw_status reader_open(void **out, const char *path, struct ArrowSchema *schema, uint64_t *rows, rw_error *err) {
  *out = nullptr;
  schema->release = nullptr;
  std::unique_ptr<parquet_reader> r;
  std::string why;
  rw_status s = guarded(&why, [&]() -> arrow::Status {
    r = std::make_unique<parquet_reader>();
    r->path = path;
    ARROW_ASSIGN_OR_RAISE(auto in, arrow::io::ReadableFile::Open(path, arrow::system_memory_pool()));
    ARROW_ASSIGN_OR_RAISE(int64_t size, in->GetSize());
    int64_t most = std::min(size, INT64_MAX / (2 * MEMORY_RATIO)) * MEMORY_RATIO + MEMORY_BASE;
    r->pool = std::make_unique<arrow::CappedMemoryPool>(arrow::system_memory_pool(), most);
    parquet::ReaderProperties p(r->pool.get());
    p.enable_buffered_stream();
    p.set_buffer_size(COLUMN_BUFFER);
    parquet::ArrowReaderProperties a(false);
    a.set_batch_size(BATCH_ROWS);
    a.set_pre_buffer(false);
    parquet::arrow::FileReaderBuilder b;
    ARROW_RETURN_NOT_OK(b.Open(in, p));
    ARROW_RETURN_NOT_OK(b.memory_pool(r->pool.get())->properties(a)->Build(&r->file));
    ARROW_ASSIGN_OR_RAISE(r->batches, r->file->GetRecordBatchReader());
    *rows = (uint64_t)std::max<int64_t>(0, r->file->parquet_reader()->metadata()->num_rows());
    return arrow::ExportSchema(*r->batches->schema(), schema);
  });
  if (s == RW_NOMEM) return too_large(path, err);
  if (s == RW_UNSUPPORTED) return rw_fail(err, s, "%s: a Parquet file of a kind not read: %s", path, why.c_str());
  if (s) return rw_fail(err, s, "%s: not a whole Parquet file (%s); fetch the file again", path, why.c_str());
  *out = r.release();
  return RW_OK;
}

rw_status reader_next(void *of, struct ArrowArray *out, rw_error *err) {
  auto *r = static_cast<parquet_reader *>(of);
  *out = {};
  std::string why;
  rw_status s = guarded(&why, [&]() -> arrow::Status {
    std::shared_ptr<arrow::RecordBatch> b;
    do ARROW_RETURN_NOT_OK(r->batches->ReadNext(&b));
    while (b && b->num_rows() == 0);
    if (!b) return arrow::Status::OK();
    ARROW_RETURN_NOT_OK(b->ValidateFull());
    r->row += (uint64_t)b->num_rows();
    return arrow::ExportRecordBatch(*b, out);
  });
  if (s == RW_NOMEM) return too_large(r->path.c_str(), err);
  if (s)
    return rw_fail(err, s, "%s:%llu: the Parquet data is damaged from here on (%s); fetch the file again",
                   r->path.c_str(), (unsigned long long)r->row + 1, why.c_str());
  return RW_OK;
}

void reader_close(void *of) { delete static_cast<parquet_reader *>(of); }

struct parquet_writer {
  std::string path;
  std::shared_ptr<arrow::Schema> schema;
  std::unique_ptr<parquet::arrow::FileWriter> file;
};

rw_status write_failed(rw_status s, const std::string &path, const std::string &why, rw_error *err) {
  if (s == RW_NOMEM) return rw_nomem(err, path.c_str());
  return s ? rw_fail(err, RW_IO, "%s: cannot write Parquet: %s", path.c_str(), why.c_str()) : RW_OK;
}

rw_status writer_open(void **out, file_out *f, parquet_sink write, const char *path, struct ArrowSchema *schema,
                      rw_error *err) {
  *out = nullptr;
  std::unique_ptr<parquet_writer> w;
  std::string why;
  rw_status s = guarded(&why, [&]() -> arrow::Status {
    w = std::make_unique<parquet_writer>();
    w->path = path;
    ARROW_ASSIGN_OR_RAISE(w->schema, arrow::ImportSchema(schema));
    parquet::WriterProperties::Builder b;
    b.compression(parquet::Compression::ZSTD)->compression_level(ZSTD_LEVEL);
    b.memory_pool(arrow::system_memory_pool());
    ARROW_ASSIGN_OR_RAISE(w->file, parquet::arrow::FileWriter::Open(*w->schema, arrow::system_memory_pool(),
                                                                    std::make_shared<stream>(f, write), b.build()));
    return arrow::Status::OK();
  });
  if (schema->release) schema->release(schema);
  if (!s) *out = w.release();
  return write_failed(s, path, why, err);
}

rw_status writer_put(void *of, struct ArrowArray *batch, rw_error *err) {
  auto *w = static_cast<parquet_writer *>(of);
  std::string why;
  rw_status s = guarded(&why, [&]() -> arrow::Status {
    ARROW_ASSIGN_OR_RAISE(auto b, arrow::ImportRecordBatch(batch, w->schema));
    ARROW_RETURN_NOT_OK(w->file->NewBufferedRowGroup());
    return w->file->WriteRecordBatch(*b);
  });
  if (batch->release) batch->release(batch);
  return write_failed(s, w->path, why, err);
}

rw_status writer_close(void *of, bool finish, rw_error *err) {
  auto *w = static_cast<parquet_writer *>(of);
  std::string why, path = w->path;
  rw_status s = guarded(&why, [&] { return finish ? w->file->Close() : arrow::Status::OK(); });
  delete w;
  return write_failed(s, path, why, err);
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const parquet_plugin PARQUET_PLUGIN_TABLE = {
    REWARD_VERSION, reader_open, reader_next, reader_close, writer_open, writer_put, writer_close};
