/* cmd_sweep.c - `reward sweep`: a grid of `reward train` runs and their comparison.
 *
 * Options of its own are few; all others are handed to each run as they stand. A run is a `reward train` of its
 * own, so that each starts alike, its peak memory is its own, and one that fails leaves the others to go on.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/training.h"
#include "pages/sweep_page.h"

static const char USAGE[] =
    "sweep --model DIR --data [NAME=]FILE... --eval [SUITE:]FILE --out DIR [options of train]";
static const char ABOUT[] =
    "Trains one model by several losses, on several data sets, or both, each with several seeds, and compares:\n"
    "mean and standard deviation of the evaluation over seeds, differences to the baseline with 95% intervals "
    "over\n"
    "paired resamples of items and seeds, the Skywork-Reward report's own rows beside. Each run is a folder of "
    "--out;\n"
    "what is done is not done again, so the same command goes on after an interruption. Writes sweep.json and\n"
    "report.html. Every other option is one of `reward train` and goes to each run (--gamma and its like to those\n"
    "whose loss has it): with --steps the runs are of equal steps, without of equal epochs.";
static const char EXAMPLES[] =
    "  reward sweep --model base --data train.jsonl --losses bt,focal,hinge --seeds 0,1,2 --eval heldout.jsonl "
    "--out losses\n"
    "  reward sweep --model base --data 80k=a.jsonl 700k=b.jsonl c.jsonl --steps 500 --seeds 0,1 \\\n"
    "      --eval rewardbench:bench.jsonl --out data --lr 1e-5\n"
    "  reward sweep ... --dry-run            # the runs, their steps and tokens\n";

typedef struct {
  const char *name;
  option_list files;
} data_set;

typedef struct {
  const char *out, *baseline, *loss_names, *seed_names;
  option_list data, evals;
  bool dry_run, force;
  train_options train; /* what goes to each run */
} options;

typedef struct {
  cli *c;
  const options *o;
  option_list losses, seeds, rest; /* rest: the words of train's options */
  data_set *sets;
  size_t n_sets, cap_sets;
  sweep s;
  sweep_group *groups;
  sweep_run *runs;
  arena *memory;
} grid;

/* ---- the command line ---- */

static const option table[] = {
    {"data", .kind = OPTION_LIST, .many = true, .field = offsetof(options, data), .value = "[NAME=]FILE",
     .help = "training rows; files of one NAME are one data set"},
    {"eval", .kind = OPTION_LIST, .field = offsetof(options, evals), .value = "[SUITE:]FILE",
     .help = "what the runs are measured on; the first decides"},
    {"out", 'o', .kind = OPTION_TEXT, .field = offsetof(options, out), .value = "DIR",
     .help = "a folder for all of it"},
    {"losses", .kind = OPTION_TEXT, .field = offsetof(options, loss_names), .value = "A,B,...", .initial = "bt",
     .help = "losses of train to compare"},
    {"seeds", .kind = OPTION_TEXT, .field = offsetof(options, seed_names), .value = "0,1,2", .initial = "0",
     .help = "seeds of each; they draw a new head and the rows' order"},
    {"baseline", .kind = OPTION_TEXT, .field = offsetof(options, baseline), .value = "NAME",
     .help = "what the others are compared with (default: the first)"},
    {"force", .kind = OPTION_FLAG, .field = offsetof(options, force),
     .help = "replace runs in --out that had other arguments"},
    {"dry-run", .kind = OPTION_FLAG, .field = offsetof(options, dry_run),
     .help = "list the runs with steps and tokens, and stop"},
    {.name = NULL}};

static bool is_own(const option *o) { return o >= table && o < table + sizeof table / sizeof *table; }

/* The words that go to each run: what is given of train's options, and of the common ones. */
static int collect_rest(grid *g) {
  static const struct {
    const char *name, *instead;
  } refused[] = {{"seed", "use --seeds here"},
                 {"loss", "use --losses here"},
                 {"resume", "a sweep always goes on with what is there"}};
  const cli *c = g->c;
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
    if (cli_given(c, refused[i].name)) return cli_usage(g->c, "--%s: %s", refused[i].name, refused[i].instead);
  for (size_t i = 0; i < c->n_given; i++) {
    const cli_given_option *given = &c->given[i];
    if (is_own(given->option) || strcmp(given->option->name, "config") == 0)
      continue; /* its options stand in argv */
    for (int k = 0; k < given->n; k++)
      if (!cli_push(g->c, &g->rest, c->argv[given->first + k])) return cli_nomem(g->c);
  }
  return -1;
}

/* The option of some losses only that the word begins, or NULL. */
static const option *loss_option_of(const char *word) {
  const char *value;
  const option *o = option_is_value(word) ? NULL : option_of_word(train_option_table, word, &value);
  return o && o->of ? o : NULL;
}

static int loss_of(const char *name) {
  int k = 0;
  while (k < LOSS_KINDS && strcmp(name, loss_words[k].text) != 0) k++;
  return k;
}

/* Are the losses known, and is every loss's option one of some of them? -1, or the exit status. */
static int check_losses(const grid *g) {
  const cli *c = g->c;
  for (size_t i = 0; i < g->losses.n; i++)
    if (loss_of(g->losses.items[i]) == LOSS_KINDS)
      return cli_usage(g->c, "--losses: expected losses that train's --loss has, got '%s'", g->losses.items[i]);
  for (size_t i = 0; i < c->n_given; i++) {
    const option *o = c->given[i].option;
    bool any = is_own(o);
    for (size_t k = 0; k < g->losses.n && !any; k++) any = cli_loss_has(o, loss_of(g->losses.items[k]));
    if (!any)
      return cli_usage(g->c, "--%s: expected a loss that has it among --losses, got %s", o->name, g->o->loss_names);
  }
  return -1;
}

/* NAME=FILE opens or extends the set NAME; a bare FILE belongs to the set before it, or to "data". */
static int add_data(grid *g, const char *word) {
  size_t n = strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"), at = g->n_sets;
  const char *file = word;
  if (n > 0 && word[n] == '=' && word[0] != '.') {
    file = word + n + 1;
    for (at = 0; at < g->n_sets; at++)
      if (strlen(g->sets[at].name) == n && memcmp(g->sets[at].name, word, n) == 0) break;
  } else if (g->n_sets > 0) {
    at = g->n_sets - 1;
  }
  if (at == g->n_sets) {
    data_set set = {file == word ? "data" : arena_strndup(g->memory, word, n), {0}};
    if (!set.name || !vec_push(g->sets, g->n_sets, g->cap_sets, set)) return cli_nomem(g->c);
  }
  return cli_push(g->c, &g->sets[at].files, file) ? -1 : cli_nomem(g->c);
}

/* Groups are sets by losses; a name holds only what varies. */
static int lay_out(grid *g) {
  size_t groups = g->n_sets * g->losses.n, n = 0;
  g->groups = arena_alloc(g->memory, groups, sizeof *g->groups);
  g->runs = arena_alloc(g->memory, groups * g->seeds.n, sizeof *g->runs);
  if (!g->groups || !g->runs) return cli_nomem(g->c);
  for (size_t d = 0; d < g->n_sets; d++)
    for (size_t l = 0; l < g->losses.n; l++, n++) {
      const char *set = g->sets[d].name, *loss = g->losses.items[l];
      bool both = g->n_sets > 1 && g->losses.n > 1;
      char *name = both ? mem_printf("%s-%s", set, loss) : mem_printf("%s", g->n_sets > 1 ? set : loss);
      g->groups[n] = (sweep_group){name ? arena_strndup(g->memory, name, strlen(name)) : NULL, set, loss};
      mem_free(name);
      if (!g->groups[n].name) return cli_nomem(g->c);
      for (size_t k = 0; k < g->seeds.n; k++) {
        char *end, *dir = mem_printf("%s/%s-%s", g->o->out, g->groups[n].name, g->seeds.items[k]);
        unsigned long long seed = strtoull(g->seeds.items[k], &end, 10);
        sweep_run r = {n, seed, dir ? arena_strndup(g->memory, dir, strlen(dir)) : NULL};
        mem_free(dir);
        if (!r.dir) return cli_nomem(g->c);
        if (*end || g->seeds.items[k][0] < '0' || g->seeds.items[k][0] > '9')
          return cli_usage(g->c, "--seeds: expected whole numbers as 0,1,2, got '%s'", g->seeds.items[k]);
        g->runs[n * g->seeds.n + k] = r;
      }
    }
  for (size_t a = 0; a < groups * g->seeds.n; a++)
    for (size_t b = 0; b < a; b++)
      if (strcmp(g->runs[a].dir, g->runs[b].dir) == 0)
        return cli_usage(g->c, "%s: named twice by --losses, --seeds and --data", g->runs[a].dir);
  const cli *c = g->c;
  g->s = (sweep){.model = g->o->train.model,
                 .out = g->o->out,
                 .groups = g->groups,
                 .runs = g->runs,
                 .evals = g->o->evals.items,
                 .n_groups = groups,
                 .n_seeds = g->seeds.n,
                 .n_evals = g->o->evals.n,
                 .equal_steps = cli_given(c, "steps"),
                 .max_length = g->o->train.max_length,
                 .device = c->common.device,
                 .date = g->o->train.date,
                 .context = c->context};
  while (g->o->baseline && g->s.baseline < groups && strcmp(g->groups[g->s.baseline].name, g->o->baseline) != 0)
    g->s.baseline++;
  if (g->s.baseline == groups)
    return cli_usage(g->c, "--baseline: no group is named '%s'; the first is '%s'", g->o->baseline,
                     g->groups[0].name);
  return -1;
}

/* ---- runs ---- */

/* The command line of a run, as for `reward train`. */
static bool command_of(const grid *g, size_t i, bool anew, option_list *words) {
  const sweep_run *r = &g->runs[i];
  const data_set *set = &g->sets[r->group / g->losses.n];
  bool watched = cli_given(g->c, "eval-every") || cli_given(g->c, "early-stop") || cli_given(g->c, "keep");
  bool ok = cli_push(g->c, words, "train");
  const char *loss = g->groups[r->group].loss;
  for (size_t k = 0; k < g->rest.n; k++) {
    const option *of = loss_option_of(g->rest.items[k]);
    if (!of || cli_loss_has(of, loss_of(loss)))
      ok = ok && cli_push(g->c, words, g->rest.items[k]);
    else
      k += !strchr(g->rest.items[k], '='); /* another loss's, with its value */
  }
  ok = ok && cli_push(g->c, words, "--loss") && cli_push(g->c, words, loss) && cli_push(g->c, words, "--seed") &&
       cli_push(g->c, words, g->seeds.items[i % g->seeds.n]);
  for (size_t k = 0; watched && k < g->o->evals.n; k++)
    ok = ok && cli_push(g->c, words, "--eval") && cli_push(g->c, words, g->o->evals.items[k]);
  ok = ok && cli_push(g->c, words, "--data");
  for (size_t k = 0; k < set->files.n; k++) ok = ok && cli_push(g->c, words, set->files.items[k]);
  return ok && cli_push(g->c, words, "--out") && cli_push(g->c, words, r->dir) &&
         cli_push(g->c, words, anew ? "--force" : "--resume");
}

static int print_plan(const grid *g) {
  const char *columns[] = {"run", ">rows", ">steps", ">tokens"};
  rep_table *t = rep_table_new(columns, 4);
  uint64_t all = 0;
  int status = 0;
  for (size_t i = 0; i < g->s.n_groups * g->s.n_seeds && status == 0; i++) {
    option_list words = {0};
    train_outlook o = {0};
    status = command_of(g, i, false, &words)
                 ? cli_train_outlook(g->c->messages, (int)words.n, (char **)words.items, &o)
                 : 1;
    rep_cell(t, "%s", g->runs[i].dir);
    rep_cell_int(t, (int64_t)o.rows);
    rep_cell_int(t, o.steps);
    rep_cell_int(t, (int64_t)o.tokens);
    all += o.tokens;
  }
  rep_total(t);
  rep_cell(t, "%zu runs", g->s.n_groups * g->s.n_seeds);
  rep_cell(t, " ");
  rep_cell(t, " ");
  rep_cell_int(t, (int64_t)all);
  str text = {0};
  rw_error err;
  if (status == 0 && rep_table_print(t, &text, &err)) status = cli_fail(g->c, &err);
  if (status == 0) cli_print(stdout, &text);
  str_free(&text);
  rep_table_free(t);
  return status;
}

/* `reward train` in a process of its own. The child runs nothing of this one's before execv: a library's thread may
 * hold a lock at the fork. The terminal's Ctrl-C comes to the child as one SIGTERM from here: the first of either
 * lets it save, a second would not wait. */
static int run_train(const grid *g, option_list *words, const char *dir) {
  rw_error err;
  char threads[16];
  snprintf(threads, sizeof threads, "%d", g->c->context->ranks->cores); /* this rank's share */
  if (g->c->context->ranks->cores && !cli_given(g->c, "threads") &&
      (!cli_push(g->c, words, "--threads") || !cli_push(g->c, words, threads)))
    return cli_nomem(g->c);
  sigset_t interrupt, before;
  sigemptyset(&interrupt);
  sigaddset(&interrupt, SIGINT);
  if (!cli_push(g->c, words, NULL)) return cli_nomem(g->c);
  fflush(stdout);
  fflush(stderr);
  pthread_sigmask(SIG_BLOCK, &interrupt, &before); /* the mask outlives execv */
  pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    execv("/proc/self/exe", (char **)words->items);
    _exit(126);
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  int status = 0;
  bool told = false;
  pid_t got = 0;
  while (child > 0 && ((got = waitpid(child, &status, WNOHANG)) == 0 || (got < 0 && errno == EINTR))) {
    if (log_interrupted(g->c->context) && !told) told = kill(child, SIGTERM) == 0; /* it saves, then ends */
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
  }
  if (child < 0 || got < 0 || (WIFEXITED(status) && WEXITSTATUS(status) == 126)) {
    rw_fail(&err, RW_IO, "%s: cannot start a process for the run", dir);
    return cli_fail(g->c, &err);
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* Does the run's folder hold it finished, or another one? That is decided by content (train_found), so that rows or
 * a model that changed under their names are seen. */
static int find_run(const grid *g, const char *dir, option_list *words, run_state *found, rw_error *err) {
  char *path = file_join(dir, "run.json");
  if (!path) return cli_nomem(g->c);
  bool there = file_exists(path);
  mem_free(path);
  *found = RUN_NONE;
  return there ? cli_train_found(g->c->messages, (int)words->n - 1, (char **)words->items + 1, found, err) : 0;
}

static int run_one(const grid *g, size_t i) {
  rw_error err;
  run_state found = RUN_NONE;
  const char *dir = g->runs[i].dir;
  option_list words = {0};
  if (!cli_push(g->c, &words, "reward") || !command_of(g, i, false, &words)) return cli_nomem(g->c);
  int status = find_run(g, dir, &words, &found, &err);
  if (status) return status;
  if (found == RUN_OTHER && !g->o->force)
    return cli_usage(g->c,
                     "%s: holds a run with other arguments, data or model: %s; --force replaces it, another --out "
                     "keeps it",
                     dir, cli_text(&err));
  if (found == RUN_OTHER) {
    words.n = 1;
    if (!command_of(g, i, true, &words)) return cli_nomem(g->c);
  }
  bool finished = found == RUN_FINISHED;
  log_note(g->c->context, "run %zu of %zu: %s%s", i + 1, g->s.n_groups * g->s.n_seeds, dir,
           finished ? ": trained already" : "");
  status = finished ? 0 : run_train(g, &words, dir);
  if (status) return status;
  if (!cli_threads(g->c)) return 1;
  return sweep_score(&g->s, &g->runs[i], &err) ? cli_fail(g->c, &err) : 0;
}

/* The runs go round the ranks. */
static int run_own(const grid *g, uint64_t *failed) {
  const comm *ranks = g->c->context->ranks;
  size_t all = g->runs ? g->s.n_groups * g->s.n_seeds : 0;
  for (size_t i = (size_t)ranks->rank; i < all; i += (size_t)ranks->size) {
    int status = run_one(g, i);
    if (status == 2 || status == 130 || log_interrupted(g->c->context)) return status == 2 ? 2 : 130;
    if (status) log_warn(g->c->context, "%s failed; the others go on", g->runs[i].dir);
    *failed += status != 0;
  }
  return -1;
}

static int report(const grid *g, size_t *missing) {
  str text = {0};
  rw_error err;
  rw_status s = sweep_report(&g->s, &text, missing, &err);
  if (!s) cli_print(stdout, &text);
  str_free(&text);
  if (s) return cli_fail(g->c, &err);
  log_note(g->c->context, "%s/sweep.json and report.html written", g->o->out);
  return -1;
}

static int run_all(const grid *g) {
  comm *ranks = g->c->context->ranks;
  size_t missing = 0;
  uint64_t failed = 0;
  rw_error err;
  int status = run_own(g, &failed);
  if (status >= 0) return status; /* which ends the other ranks' runs too */
  if (comm_sum(ranks, &failed, 1, &err)) return cli_fail(g->c, &err);
  status = cli_agree(g->c, ranks->rank == 0 ? report(g, &missing) : -1);
  if (status < 0) status = cli_agree(g->c, failed || missing ? 1 : -1);
  return status < 0 ? 0 : status;
}

/* Lays the runs out and checks all that can be told before the first: -1 to go on, else the exit status. */
static int plan(grid *g) {
  const cli *c = g->c;
  const options *o = g->o;
  if (o->data.n == 0 || o->evals.n == 0 || !o->out || !o->train.model)
    return cli_usage(c, "--model, --data, --eval and --out are needed");
  int status = cli_check_evals(c, &o->evals);
  if (status < 0) status = collect_rest(g);
  if (status >= 0) return status;
  if (!cli_split(g->c, &g->losses, o->loss_names) || !cli_split(g->c, &g->seeds, o->seed_names))
    return cli_nomem(c);
  if (g->losses.n == 0 || g->seeds.n == 0) return cli_usage(c, "--losses, --seeds: expected at least one");
  if ((status = check_losses(g)) >= 0) return status;
  for (size_t i = 0; i < o->data.n; i++)
    if ((status = add_data(g, o->data.items[i])) >= 0) return status;
  if ((status = lay_out(g)) >= 0) return status;
  if (o->dry_run) return print_plan(g);
  for (size_t i = 0; i < g->s.n_groups * g->s.n_seeds; i++) {
    option_list words = {0};
    if (!command_of(g, i, false, &words)) return cli_nomem(c);
    if ((status = cli_train_check(c->messages, (int)words.n, (char **)words.items)) >= 0) return status;
  }
  rw_error err;
  return sweep_check_evals(&g->s, &err) || file_mkdirs(o->out, &err) ? cli_fail(c, &err) : -1;
}

static int run_command(cli *c, void *values) {
  grid g = {.c = c, .o = values, .memory = c->memory};
  int status = cli_agree(c, plan(&g));
  if (status < 0 && g.runs) status = run_all(&g);
  mem_free(g.sets);
  return status;
}

const cli_command cmd_sweep = {.name = "sweep",
                               .summary = "train by several losses, data sets or seeds, and compare",
                               .usage = USAGE,
                               .about = ABOUT,
                               .examples = EXAMPLES,
                               .parts = {{table}, {train_option_table, offsetof(options, train), true}},
                               .values = sizeof(options),
                               .ranks = true,
                               .common = CLI_THREADS | CLI_DEVICE | CLI_DTYPE | CLI_BASE | CLI_QUIET | CLI_ROWS,
                               .run = run_command};
