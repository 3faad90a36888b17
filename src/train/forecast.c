/* forecast.c - what a run will take before it starts: its memory, the disk for frozen layers' states, with
 * --dry-run its time. (Checkpoints and the result: disk.c.)
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "train/disk.h"
#include "train/memory.h"
#include "train/run.h"

static void gigabytes(char out[32], uint64_t bytes) { snprintf(out, 32, "%.3g GB", (double)bytes / 1e9); }

typedef struct {
  uint64_t need, room;
  uint64_t host;   /* the part of the need that is in the host's memory */
  const char *of;  /* "", or whose memory it is */
  uint64_t device; /* all that will be in use of a device's own memory; 0: it has none */
} memory_need;

/* What training takes of the memory that is scarcer: the host's, or the device's where that is another. */
static memory_need most_pressing(const run *t, size_t rows, uint64_t available) {
  model_bytes b = model_train_bytes(t->m, &t->how, rows);
  uint64_t room, total;
  model_device_memory(t->m, &room, &total);
  if (total == 0) return (memory_need){b.host + b.device, available, b.host + b.device, "", 0};
  uint64_t device = total - room + b.device;
  if (b.device > room) return (memory_need){b.device, room, b.host, " of the device", device};
  return (memory_need){b.host, available, b.host, "", device};
}

/* Predicts the peak, chooses recomputation, and refuses a run that cannot fit before it starts. */
rw_status forecast_memory(run *t, rw_error *err) {
  const train_options *o = t->o;
  size_t rows = 0;
  for (size_t i = 0; i < dataset_size(t->d); i++) {
    const example *x = dataset_at(t->d, i);
    size_t n = model_group_tokens(&(id_group){x->ids, x->len, x->n}, o->share);
    t->shared_tokens += n;
    if (n > rows) rows = n;
  }
  uint64_t most = t->shared_tokens < (uint64_t)t->batch_tokens ? t->shared_tokens : (uint64_t)t->batch_tokens;
  uint64_t batch = rows * (uint64_t)o->batch_size; /* the most that one holds */
  if (most > batch) most = batch;
  if (most > rows) rows = most;
  bool apart = o->shard && t->ranks->size > 1;
  if (apart) RW_TRY(step_widest(t, &rows, err));
  t->how = (model_train_options){
      .freeze_layers = (size_t)o->freeze_layers,
      .recompute = o->recompute == RECOMPUTE_AUTO ? RECOMPUTE_NO : (recomputation)o->recompute,
      .states_8bit = o->states_8bit != 0,
      .most_rows = rows,
      .slices = (size_t)o->slices,
      .apart = apart,
      .reopened = train_kept_checkpoints(o) > 0,
      .save_dtype = o->save_dtype};
  /* what the machine has left is for all ranks that are on it */
  uint64_t used = memory_used(), available = memory_available() / (uint64_t)t->ranks->node_size;
  memory_need n = most_pressing(t, rows, available);
  char a[32], b[32];
  while (n.need > n.room && o->recompute == RECOMPUTE_AUTO && t->how.recompute < RECOMPUTE_FULL) {
    t->how.recompute++;
    n = most_pressing(t, rows, available);
  }
  if (n.need <= n.room && t->how.recompute > RECOMPUTE_NO && o->recompute == RECOMPUTE_AUTO) {
    gigabytes(a, n.need);
    gigabytes(b, n.room);
    log_note(o->context, "recomputing activations to fit (%s): %s of %s available",
             recompute_words[t->how.recompute].text, a, b);
  }
  t->predicted = used + n.host;
  t->device = n.device;
  if (n.need <= n.room) return RW_OK;
  gigabytes(a, n.need);
  gigabytes(b, n.room);
  return rw_fail(
      err, RW_NOMEM,
      "training takes %s more memory%s and %s are available; use " FIELD(optimizer_states) " 8bit, " FIELD(recompute) " full, "
      "a smaller " FIELD(batch_tokens) " or " FIELD(max_length) ", or " FIELD(freeze_layers),
      a, n.of, b);
}

/* With frozen layers: keeps their states on disk where rows or evaluations come again and the room is there. */
rw_status forecast_frozen(run *t, const char *dir, rw_error *err) {
  const train_options *o = t->o;
  const model_config *c = model_info(t->m);
  bool again = t->steps > t->per_epoch, evals = o->eval.n > 0;
  char *why = t->frozen_why_not;
  if (o->freeze_layers == 0) return RW_OK;
  uint64_t need = t->shared_tokens * c->hidden * sizeof(float), all = file_room(dir),
           room =
               (all > t->disk ? (all - t->disk) / 2 : 0) / (uint64_t)t->ranks->size; /* what is saved comes first */
  char a[32], b[32];
  gigabytes(a, need);
  gigabytes(b, room);
  if (!again) {
    snprintf(why, sizeof t->frozen_why_not, "no training row comes again");
  } else if (need > room) {
    snprintf(why, sizeof t->frozen_why_not, "%s: no room for the frozen layers' states: %s of %s", dir, a, b);
    log_note(o->context, "%s", why);
    again = false;
  } else if (!o->dry_run) {
    log_note(o->context, "the frozen layers' states are kept on disk after their first pass: %s", a);
  }
  if (again) t->disk += need;
  if (!again && !evals) return RW_OK;
  rw_status s = model_keep_frozen(t->m, dir, room, again, evals, err);
  if (s != RW_IO) return s;
  snprintf(why, sizeof t->frozen_why_not, "%s", err->text);
  log_warn(o->context, "the frozen layers' states are computed each time: %s", why);
  return RW_OK;
}

static void time_text(char out[32], double seconds) {
  const struct {
    const char *unit;
    double seconds;
  } units[] = {{"day", 86400}, {"hour", 3600}, {"minute", 60}, {"second", 1}};
  int u = 0;
  while (u < 3 && seconds < 1.5 * units[u].seconds - (u == 2 ? 31 : 0)) u++;
  long n = (long)(seconds / units[u].seconds + 0.5);
  if (n < 1) n = 1;
  snprintf(out, 32, "%ld %s%s", n, units[u].unit, n == 1 ? "" : "s");
}

/* *each: seconds a token, measured over passes of the first step, at most PASSES. */
static rw_status time_passes(run *t, double *each, rw_error *err) {
  enum { PASSES = 4 };
  const train_options *o = t->o;
  double seconds = 0;
  size_t tokens = 0, i = 0, most = t->how.apart ? t->how.most_rows : (size_t)t->batch_tokens;
  bool end = false;
  for (int r = 0; r <= PASSES && !(end && r > 1); r++) { /* the first touches new memory and does not count */
    size_t n = 0, cost = 0, sum = 0, start_row = i;
    for (const example *x; (x = step_row(t, 0, i, &end)); i++) {
      id_group g = {x->ids, x->len, x->n};
      cost = model_group_tokens(&g, o->share);
      if (n > 0 && sum + cost > most) break;
      t->pass_piece[n] = t->piece_tokens > 1 ? 1 + sum / (size_t)t->piece_tokens : 0; /* about as a step's */
      t->pass[n] = x;
      t->groups[n++] = g;
      sum += cost;
    }
    double start = clock_seconds();
    model_begin_round(t->m, t->ranks->size, true, true);
    RW_TRY(step_pass(t, n, (double)n, 1, err));
    if (r == 0) {
      i = start_row;
      end = false;
      continue;
    }
    seconds += clock_seconds() - start;
    tokens += sum;
  }
  *each = seconds / (double)tokens;
  return RW_OK;
}

/* --dry-run: some passes and one update are run to see the speed. */
rw_status forecast_print(run *t, rw_error *err) {
  const train_options *o = t->o;
  const dataset_counts *counts = dataset_stats(t->d);
  comm *c = t->ranks;
  RW_TRY(comm_agree(c, disk_forecast(t, err), err));
  RW_TRY(comm_agree(c, model_train(t->m, &t->how, err), err));
  double each = 0, later;
  RW_TRY(model_agree(t->m, time_passes(t, &each, err), err));
  later = each;
  char *dir = file_nearest_dir(o->out ? o->out : "."); /* on whose disk the run will lie */
  rw_status kept = dir ? forecast_frozen(t, dir, err) : rw_nomem(err, "dry run");
  mem_free(dir);
  RW_TRY(comm_agree(c, kept, err));
  for (int i = 0; i < 2 && o->freeze_layers > 0 && t->steps > t->per_epoch; i++)
    RW_TRY(model_agree(t->m, time_passes(t, &later, err), err));
  double start = clock_seconds();
  double norm;
  int64_t rounds = (o->slices + c->size - 1) / c->size;
  for (int64_t i = 0; i < rounds; i++) {
    int64_t left = o->slices - i * c->size;
    model_begin_round(t->m, (int)(left < c->size ? left : c->size), i == 0, i + 1 == rounds);
    RW_TRY(comm_agree(c, model_end_round(t->m, err), err));
  }
  RW_TRY(model_grad_norm(t->m, &norm, err));
  model_update(t->m, &(model_adamw){.t = 1, .beta1 = o->betas[0], .beta2 = o->betas[1], .eps = o->eps}, 1);
  RW_TRY(model_share_values(t->m, err));
  model_zero_grad(t->m);
  double update = clock_seconds() - start, part = (double)rounds / (double)o->slices,
         epochs = (double)t->steps / (double)t->per_epoch, computed = (double)t->shared_tokens * epochs,
         first = epochs < 1 ? epochs : 1;
  double seconds =
      (double)t->shared_tokens * (first * each + (epochs - first) * later) * part + (double)t->steps * update;
  char memory[32], disk[32], time[32];
  file_size_text(memory, t->predicted);
  file_size_text(disk, t->disk);
  time_text(time, seconds);
  printf(
      "needs               %s of memory, %s of disk, about %s\n"
      "rows_used           %zu\ntokens_per_epoch    %llu\ntokens_computed     %.0f\nsteps               %lld\n"
      "recompute           %s\npeak_memory_bytes   %llu\ndisk_bytes          %llu\nseconds             %.2f\n",
      memory, disk, time, counts->used, (unsigned long long)counts->tokens, computed, (long long)t->steps,
      recompute_words[t->how.recompute].text, (unsigned long long)t->predicted, (unsigned long long)t->disk,
      seconds);
  if (t->device) { /* all is there by now: memory grows with passes, and is kept */
    uint64_t room, total;
    model_device_memory(t->m, &room, &total);
    printf("device_memory_bytes %llu\ndevice_memory_taken %llu\n", (unsigned long long)t->device,
           (unsigned long long)(total - room));
  }
  if (c->size > 1)
    printf("ranks               %d\nslices              %lld\nsent_bytes_a_step   %llu\n", c->size,
           (long long)o->slices, (unsigned long long)model_train_bytes(t->m, &t->how, 1).exchanged);
  return RW_OK;
}
