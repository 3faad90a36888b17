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
  cli_list files;
} data_set;

typedef struct {
  cli_list data, evals, losses, seeds, rest; /* rest: train's options */
  const char *out, *baseline, *loss_names, *seed_names;
  bool dry_run, force;
  data_set *sets;
  size_t n_sets, cap_sets;
  sweep s;
  sweep_group *groups;
  sweep_run *runs;
  arena *memory;
} grid;

/* ---- the command line ---- */

static const opt *own_option(const opt *table, const char *a) {
  if (a[0] != '-' || a[1] == 0) return NULL;
  size_t len = a[1] == '-' ? strcspn(a + 2, "=") : 0;
  for (const opt *o = table; o->name; o++)
    if (a[1] == '-' ? strlen(o->name) == len && memcmp(o->name, a + 2, len) == 0 : o->letter && o->letter == a[1])
      return o;
  return NULL;
}

static bool is_common(const char *a) {
  static const char *const names[] = {"--threads", "--device", "--dtype", "--quiet", "-q"};
  size_t len = strcspn(a, "=");
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strlen(names[i]) == len && memcmp(names[i], a, len) == 0) return true;
  return false;
}

/* Divides the words: the table's options to own, the others to rest, common ones to both. */
static int divide(int argc, char **argv, const opt *table, cli_list *own, cli_list *rest) {
  bool ok = cli_push(own, argv[0]);
  for (int i = 1; i < argc && ok;) {
    const char *a = argv[i];
    if (strncmp(a, "--seed=", 7) == 0 || strcmp(a, "--seed") == 0) return cli_usage("--seed: use --seeds here");
    if (strncmp(a, "--loss=", 7) == 0 || strcmp(a, "--loss") == 0) return cli_usage("--loss: use --losses here");
    if (strcmp(a, "--resume") == 0) return cli_usage("--resume: a sweep always goes on with what is there");
    bool config = strncmp(a, "--config", 8) == 0; /* its options already stand in argv */
    bool help = strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0,
         mine = help || own_option(table, a) || a[0] != '-';
    do {
      if (!config && (mine || is_common(a))) ok = ok && cli_push(own, argv[i]);
      if (!config && !mine) ok = ok && cli_push(rest, argv[i]);
      i++;
    } while (ok && i < argc && (argv[i][0] != '-' || argv[i][1] == 0 || (argv[i][1] >= '0' && argv[i][1] <= '9')));
  }
  return ok ? -1 : cli_usage("memory ran out");
}

static const char *rest_value(const grid *g, const char *name) {
  size_t len = strlen(name);
  for (size_t i = 0; i < g->rest.n; i++) {
    const char *a = g->rest.items[i];
    if (!a || strncmp(a, name, len) != 0) continue;
    if (a[len] == '=') return a + len + 1;
    if (a[len] == 0) return i + 1 < g->rest.n ? g->rest.items[i + 1] : "";
  }
  return NULL;
}

/* The option of some losses only that the word begins, or NULL. */
static const cli_loss_option *loss_option_of(const char *word) {
  size_t len = strcspn(word, "=");
  for (size_t i = 0; i < CLI_LOSS_OPTIONS; i++) {
    const char *name = cli_loss_options[i].name;
    if (len == strlen(name) + 2 && strncmp(word, "--", 2) == 0 && strncmp(word + 2, name, len - 2) == 0)
      return &cli_loss_options[i];
  }
  return NULL;
}

static bool has_option(const char *loss, const cli_loss_option *o) {
  return strcmp(loss, loss_names[o->of[0]]) == 0 || strcmp(loss, loss_names[o->of[1]]) == 0;
}

/* Are the losses known, and is every loss's option one of some of them? -1, or the exit status. */
static int check_losses(const grid *g) {
  for (size_t i = 0; i < g->losses.n; i++) {
    int k = 0;
    while (k < LOSS_KINDS && strcmp(g->losses.items[i], loss_names[k]) != 0) k++;
    if (k == LOSS_KINDS)
      return cli_usage("--losses: expected losses that train's --loss has, got '%s'", g->losses.items[i]);
  }
  for (size_t i = 0; i < g->rest.n; i++) {
    const cli_loss_option *o = loss_option_of(g->rest.items[i]);
    bool any = !o;
    for (size_t k = 0; k < g->losses.n && !any; k++) any = has_option(g->losses.items[k], o);
    if (!any) return cli_usage("--%s: expected a loss that has it among --losses, got %s", o->name, g->loss_names);
  }
  return -1;
}

/* "a,b,c" into the list. */
static bool split(grid *g, cli_list *l, const char *text) {
  while (*text) {
    size_t n = strcspn(text, ",");
    char *word = arena_strndup(g->memory, text, n);
    if (!word || !cli_push(l, word)) return false;
    text += n + (text[n] == ',');
  }
  return true;
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
    if (!set.name || !vec_push(g->sets, g->n_sets, g->cap_sets, set)) return cli_usage("memory ran out");
  }
  return cli_push(&g->sets[at].files, file) ? -1 : cli_usage("memory ran out");
}

/* Groups are sets by losses; a name holds only what varies. */
static int lay_out(grid *g) {
  size_t groups = g->n_sets * g->losses.n, n = 0;
  g->groups = arena_alloc(g->memory, groups, sizeof *g->groups);
  g->runs = arena_alloc(g->memory, groups * g->seeds.n, sizeof *g->runs);
  if (!g->groups || !g->runs) return cli_usage("memory ran out");
  for (size_t d = 0; d < g->n_sets; d++)
    for (size_t l = 0; l < g->losses.n; l++, n++) {
      const char *set = g->sets[d].name, *loss = g->losses.items[l];
      bool both = g->n_sets > 1 && g->losses.n > 1;
      char *name = both ? mem_printf("%s-%s", set, loss) : mem_printf("%s", g->n_sets > 1 ? set : loss);
      g->groups[n] = (sweep_group){name ? arena_strndup(g->memory, name, strlen(name)) : NULL, set, loss};
      mem_free(name);
      if (!g->groups[n].name) return cli_usage("memory ran out");
      for (size_t k = 0; k < g->seeds.n; k++) {
        char *end, *dir = mem_printf("%s/%s-%s", g->out, g->groups[n].name, g->seeds.items[k]);
        unsigned long long seed = strtoull(g->seeds.items[k], &end, 10);
        sweep_run r = {n, seed, dir ? arena_strndup(g->memory, dir, strlen(dir)) : NULL};
        mem_free(dir);
        if (!r.dir) return cli_usage("memory ran out");
        if (*end || g->seeds.items[k][0] < '0' || g->seeds.items[k][0] > '9')
          return cli_usage("--seeds: expected whole numbers as 0,1,2, got '%s'", g->seeds.items[k]);
        g->runs[n * g->seeds.n + k] = r;
      }
    }
  for (size_t a = 0; a < groups * g->seeds.n; a++)
    for (size_t b = 0; b < a; b++)
      if (strcmp(g->runs[a].dir, g->runs[b].dir) == 0)
        return cli_usage("%s: named twice by --losses, --seeds and --data", g->runs[a].dir);
  g->s = (sweep){.model = rest_value(g, "--model") ? rest_value(g, "--model") : rest_value(g, "-m"),
                 .out = g->out,
                 .groups = g->groups,
                 .runs = g->runs,
                 .evals = g->evals.items,
                 .n_groups = groups,
                 .n_seeds = g->seeds.n,
                 .n_evals = g->evals.n,
                 .equal_steps = rest_value(g, "--steps") != NULL,
                 .device = cli_opts.device,
                 .context = &cli_context,
                 .date = rest_value(g, "--date")};
  if (rest_value(g, "--max-length")) g->s.max_length = strtoll(rest_value(g, "--max-length"), NULL, 10);
  while (g->baseline && g->s.baseline < groups && strcmp(g->groups[g->s.baseline].name, g->baseline) != 0)
    g->s.baseline++;
  if (g->s.baseline == groups)
    return cli_usage("--baseline: no group is named '%s'; the first is '%s'", g->baseline, g->groups[0].name);
  return -1;
}

/* ---- runs ---- */

/* The command line of a run, as for `reward train`. */
static bool command_of(const grid *g, size_t i, bool anew, cli_list *c) {
  const sweep_run *r = &g->runs[i];
  const data_set *set = &g->sets[r->group / g->losses.n];
  bool watched = rest_value(g, "--eval-every") || rest_value(g, "--early-stop") || rest_value(g, "--keep");
  bool ok = cli_push(c, "train");
  const char *loss = g->groups[r->group].loss;
  for (size_t k = 0; k < g->rest.n; k++) {
    const cli_loss_option *of = loss_option_of(g->rest.items[k]);
    if (!of || has_option(loss, of))
      ok = ok && cli_push(c, g->rest.items[k]);
    else
      k += !strchr(g->rest.items[k], '='); /* another loss's, with its value */
  }
  ok = ok && cli_push(c, "--loss") && cli_push(c, loss) && cli_push(c, "--seed") &&
       cli_push(c, g->seeds.items[i % g->seeds.n]);
  for (size_t k = 0; watched && k < g->evals.n; k++)
    ok = ok && cli_push(c, "--eval") && cli_push(c, g->evals.items[k]);
  ok = ok && cli_push(c, "--data");
  for (size_t k = 0; k < set->files.n; k++) ok = ok && cli_push(c, set->files.items[k]);
  return ok && cli_push(c, "--out") && cli_push(c, r->dir) && cli_push(c, anew ? "--force" : "--resume");
}

static int print_plan(const grid *g) {
  const char *columns[] = {"run", ">rows", ">steps", ">tokens"};
  rep_table *t = rep_table_new(columns, 4);
  uint64_t all = 0;
  int status = 0;
  for (size_t i = 0; i < g->s.n_groups * g->s.n_seeds && status == 0; i++) {
    cli_list c = {0};
    train_outlook o = {0};
    status = command_of(g, i, false, &c) ? cli_train((int)c.n, (char **)c.items, &o) : 1;
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
  if (status == 0 && rep_table_print(t, &text, &err)) status = cli_fail(&err);
  if (status == 0) fputs(text.p, stdout);
  str_free(&text);
  rep_table_free(t);
  return status;
}

/* `reward train` in a process of its own. The child runs nothing of this one's before execv: a library's thread may
 * hold a lock at the fork. The terminal's Ctrl-C comes to the child as one SIGTERM from here: the first of either
 * lets it save, a second would not wait. */
static int run_train(cli_list *c, const char *dir) {
  rw_error err;
  sigset_t interrupt, before;
  sigemptyset(&interrupt);
  sigaddset(&interrupt, SIGINT);
  if (!cli_push(c, NULL)) return cli_usage("memory ran out");
  fflush(stdout);
  fflush(stderr);
  pthread_sigmask(SIG_BLOCK, &interrupt, &before); /* the mask outlives execv */
  pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    execv("/proc/self/exe", (char **)c->items);
    _exit(126);
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  int status = 0;
  bool told = false;
  pid_t got = 0;
  while (child > 0 && ((got = waitpid(child, &status, WNOHANG)) == 0 || (got < 0 && errno == EINTR))) {
    if (log_interrupted(&cli_context) && !told) told = kill(child, SIGTERM) == 0; /* it saves, then ends */
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
  }
  if (child < 0 || got < 0 || (WIFEXITED(status) && WEXITSTATUS(status) == 126)) {
    rw_fail(&err, RW_IO, "%s: cannot start a process for the run", dir);
    return cli_fail(&err);
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static int run_one(const grid *g, size_t i) {
  rw_error err;
  bool finished = false, other = false;
  const char *dir = g->runs[i].dir;
  cli_list c = {0};
  if (!cli_push(&c, "reward") || !command_of(g, i, false, &c)) return cli_usage("memory ran out");
  if (sweep_run_state(dir, c.items, c.n, &finished, &other, &err)) return cli_fail(&err);
  if (other && !g->force)
    return cli_usage("%s: holds a run with other arguments; --force replaces it, another --out keeps it", dir);
  if (other) {
    c.n = 1;
    if (file_remove_tree(dir, &err)) return cli_fail(&err);
    if (!command_of(g, i, true, &c)) return cli_usage("memory ran out");
  }
  log_note(&cli_context, "run %zu of %zu: %s%s", i + 1, g->s.n_groups * g->s.n_seeds, dir,
           finished ? ": trained already" : "");
  int status = finished ? 0 : run_train(&c, dir);
  if (status) return status;
  if (!cli_threads()) return 1;
  return sweep_score(&g->s, &g->runs[i], &err) ? cli_fail(&err) : 0;
}

static int run_all(const grid *g) {
  size_t failed = 0, missing = 0, all = g->s.n_groups * g->s.n_seeds;
  for (size_t i = 0; i < all; i++) {
    int status = run_one(g, i);
    if (status == 2 || status == 130 || log_interrupted(&cli_context)) return status == 2 ? 2 : 130;
    if (status) log_warn(&cli_context, "%s failed; the others go on", g->runs[i].dir);
    failed += status != 0;
  }
  str text = {0};
  rw_error err;
  rw_status s = sweep_report(&g->s, &text, &missing, &err);
  if (!s) fputs(text.p, stdout);
  str_free(&text);
  if (s) return cli_fail(&err);
  log_note(&cli_context, "%s/sweep.json and report.html written", g->out);
  return failed || missing ? 1 : 0;
}

static int sweep_run_grid(grid *g, int argc, char **argv) {
  const opt table[] = {
      {"data", 0, OPT_LIST, &g->data, "[NAME=]FILE", "training rows; files of one NAME are one data set", true},
      {"eval", 0, OPT_LIST, &g->evals, "[SUITE:]FILE", "what the runs are measured on; the first decides", false},
      {"out", 'o', OPT_STRING, &g->out, "DIR", "a folder for all of it", false},
      {"losses", 0, OPT_STRING, &g->loss_names, "A,B,...", "losses of train to compare", false},
      {"seeds", 0, OPT_STRING, &g->seed_names, "0,1,2", "seeds of each; they draw a new head and the rows' order",
       false},
      {"baseline", 0, OPT_STRING, &g->baseline, "NAME", "what the others are compared with (default: the first)",
       false},
      {"force", 0, OPT_FLAG, &g->force, NULL, "replace runs in --out that had other arguments", false},
      {"dry-run", 0, OPT_FLAG, &g->dry_run, NULL, "list the runs with steps and tokens, and stop", false},
      {NULL, 0, OPT_FLAG, NULL, NULL, NULL, false}};
  cli_list own = {0}, words = {0};
  int status = cli_config(&argc, &argv, table, cli_train_options);
  if (status < 0) status = divide(argc, argv, table, &own, &g->rest);
  if (status < 0) status = cli_parse((int)own.n, (char **)own.items, table, &words, 0, USAGE, ABOUT, EXAMPLES);
  if (status >= 0) return status;
  if (g->data.n == 0 || g->evals.n == 0 || !g->out || !(rest_value(g, "--model") || rest_value(g, "-m")))
    return cli_usage("--model, --data, --eval and --out are needed");
  if ((status = cli_check_evals(&g->evals)) >= 0) return status;
  if (!split(g, &g->losses, g->loss_names) || !split(g, &g->seeds, g->seed_names))
    return cli_usage("memory ran out");
  if (g->losses.n == 0 || g->seeds.n == 0) return cli_usage("--losses, --seeds: expected at least one");
  if ((status = check_losses(g)) >= 0) return status;
  for (size_t i = 0; i < g->data.n; i++)
    if ((status = add_data(g, g->data.items[i])) >= 0) return status;
  if ((status = lay_out(g)) >= 0) return status;
  if (g->dry_run) return print_plan(g);
  for (size_t i = 0; i < g->s.n_groups * g->s.n_seeds; i++) {
    cli_list c = {0};
    if (!command_of(g, i, false, &c)) return cli_usage("memory ran out");
    if ((status = cli_train_check((int)c.n, (char **)c.items)) >= 0) return status;
  }
  rw_error err;
  if (sweep_check_evals(&g->s, &err) || file_mkdirs(g->out, &err)) return cli_fail(&err);
  return run_all(g);
}

int cmd_sweep_run(int argc, char **argv) {
  grid g = {.loss_names = "bt", .seed_names = "0", .memory = arena_new()};
  if (!g.memory) return cli_usage("memory ran out");
  int status = sweep_run_grid(&g, argc, argv);
  arena_free(g.memory);
  mem_free(g.sets);
  return status;
}
