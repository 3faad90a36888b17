/* disk.c - what a run will take of its disk, and what it does when that is full (see disk.h). */
#include "train/disk.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"

/* ---- before the first step ---- */

/* Checkpoints that may come to be made, Ctrl-C's among them. By minutes alone: as many as steps. */
static int64_t saves(const run *t) {
  int64_t between = t->steps - 1; /* none is made after the last step */
  return t->o->save_every > 1 && t->steps > 1 ? between / t->o->save_every + 1 : between;
}

static uint64_t most(uint64_t a, uint64_t b) { return a > b ? a : b; }

rw_status disk_forecast(run *t, rw_error *err) {
  enum { LINES = 1000 }; /* bytes that a step may add to metrics.jsonl, evals.jsonl and event files */
  const train_options *o = t->o;
  train_options texts = *o;
  texts.base = model_dir(t->m);
  model_file_bytes f = model_files(t->m, &t->how);
  uint64_t result = f.saved + text_files_bytes(&texts), best = strcmp(o->keep, "best") == 0 ? f.weights : 0;
  int64_t keep = train_kept_checkpoints(o), n = saves(t), stay = keep > 0 ? keep : 1;
  uint64_t each = f.states + (keep > 0 ? result : 0), /* the new one is whole before an old one goes */
      staying = each * (uint64_t)(n < stay ? n : stay), saving = each * (uint64_t)(n <= stay ? n : stay + 1);
  uint64_t need = most(most(saving + best, staying + 2 * best), staying + best + result);
  need += (uint64_t)LINES * (uint64_t)t->steps;
  char *dir = file_nearest_dir(o->out ? o->out : ".");
  if (!dir) return rw_nomem(err, "disk");
  uint64_t there = o->out ? checkpoint_bytes(o->out) : 0, room = file_room(dir), limit = file_size_limit();
  t->checkpoint = each;
  t->disk = need > there ? need - there : 0;
  rw_status s = RW_OK;
  char takes[32], has[32];
  bool too_large = n > 0 && f.states > limit;
  file_size_text(takes, too_large ? f.states : t->disk);
  file_size_text(has, too_large ? limit : room);
  if (too_large)
    s = rw_fail(
        err, RW_IO,
        "%s: a checkpoint is a file of %s, and files may have %s here (ulimit -f); raise that, or use " FIELD(
            optimizer_states) " 8bit, " FIELD(lora_rank) " or " FIELD(freeze_layers),
        dir, takes, has);
  else if (file_room_short(dir, t->disk))
    s = rw_fail(err, RW_IO,
                "%s: checkpoints and the result take %s of disk, and %s are free; use an " FIELD(out) " on another disk, "
                "fewer checkpoints (" FIELD(keep) "), " FIELD(optimizer_states) " 8bit, " FIELD(lora_rank) " or " FIELD(freeze_layers),
                dir, takes, has);
  mem_free(dir);
  return s;
}

/* ---- a full disk ---- */

static const double PATIENCE = 60; /* seconds that a run which is to stop tries for */

/* false: the context was interrupted meanwhile */
static bool sleep_unless(rw_context *context, bool interrupted, double seconds) {
  for (double end = clock_seconds() + seconds; clock_seconds() < end;) {
    if (!interrupted && log_interrupted(context)) return false;
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
  }
  return true;
}

rw_status disk_wait(rw_context *context, rw_status (*again)(void *ctx, rw_error *err), void *ctx, rw_error *err) {
  comm *ranks = context->ranks;
  int64_t wish = log_interrupted(context); /* what one rank's user wants counts for all */
  RW_TRY(ranks->most(ranks, &wish, 1, err));
  bool interrupted = wish;
  double began = clock_seconds(), pause = 0.5, said = -1e9;
  rw_status s;
  while ((s = comm_agree(ranks, again(ctx, err), err)) == RW_IO) {
    double now = clock_seconds();
    if (now - said > 600) {
      said = now;
      log_warn(context,
               interrupted ? "%s; trying again for a minute: make room there, or interrupt again to give up"
                           : "%s; trying again until it works: make room there, or interrupt to give up",
               err->text);
    }
    wish = (interrupted && now - began > PATIENCE) || !sleep_unless(context, interrupted, pause);
    RW_TRY(ranks->most(ranks, &wish, 1, err));
    if (wish) break;
    if (pause < 10) pause *= 2;
  }
  return s;
}

typedef struct {
  run *t;
  rw_status (*save)(run *t, rw_error *err);
} saving;

static rw_status save_if_room(void *ctx, rw_error *err) {
  const saving *v = ctx;
  run *t = v->t;
  char takes[32], has[32];
  int64_t lacks = t->ranks->rank == 0 && file_room_short(t->o->out, t->checkpoint);
  RW_TRY(t->ranks->most(t->ranks, &lacks, 1, err));
  if (!lacks) return v->save(t, err);
  file_size_text(takes, t->checkpoint);
  file_size_text(has, file_room(t->o->out));
  return rw_fail(err, RW_IO, "%s: a checkpoint takes %s of disk, and %s are free", t->o->out, takes, has);
}

/* "the checkpoint of step N stays", or that there is none */
static void what_stays(const run *t, char out[64]) {
  if (t->saved > 0)
    snprintf(out, 64, "the checkpoint of step %lld stays", (long long)t->saved);
  else
    snprintf(out, 64, "no step is saved yet");
}

rw_status disk_finish(run *t, rw_status (*publish)(void *ctx, rw_error *err), void *ctx, rw_error *err) {
  char stays[64];
  rw_status s = disk_wait(t->o->context, publish, ctx, err);
  if (s != RW_IO) return s;
  what_stays(t, stays);
  return rw_prefix(err, s, "all %lld steps are done, and the result could not be written (%s)",
                   (long long)t->state.step, stays);
}

rw_status disk_save(run *t, rw_status (*save)(run *t, rw_error *err), bool stop, rw_error *err) {
  saving v = {t, save};
  rw_context *context = t->o->context;
  char stays[64];
  rw_status s = stop ? disk_wait(context, save_if_room, &v, err) : comm_agree(t->ranks, save_if_room(&v, err), err);
  if (!s) {
    if (t->unsaved) log_note(context, "saved again after step %lld", (long long)t->state.step);
    t->unsaved = false;
    t->saved = t->state.step;
    return RW_OK;
  }
  what_stays(t, stays);
  if (stop)
    return rw_prefix(err, s == RW_IO ? RW_INTERRUPTED : s,
                     "stopped after step %lld of %lld, which could not be saved (%s)", (long long)t->state.step,
                     (long long)t->steps, stays);
  log_warn(context, "%s; step %lld is not saved: %s, training goes on and saves again when it is due", err->text,
           (long long)t->state.step, stays);
  t->unsaved = true;
  return RW_OK;
}
