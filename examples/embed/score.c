/* score.c - a conversation's reward from C.
 *
 *     cc score.c -o score $(pkg-config --cflags --libs reward)
 *     ./score MODEL "What is 2+2?" "4"
 *
 * Texts are a user's and an assistant's in turn; the last is the assistant's. */
#include <reward.h>
#include <stdio.h>
#include <stdlib.h>

static void say(void *user, rw_log_level level, const char *text) {
  (void)user;
  if (level == RW_LOG_WARNING) fprintf(stderr, "score: warning: %s\n", text);
}

static int fail(const rw_error *err) {
  fprintf(stderr, "score: %s\n", rw_error_text(err));
  return 1;
}

int main(int argc, char **argv) {
  if (argc < 4 || argc % 2 != 0) {
    fprintf(stderr, "usage: score MODEL USER ASSISTANT [USER ASSISTANT]...\n");
    return 2;
  }
  size_t n = (size_t)argc - 2;
  rw_message *chat = malloc(n * sizeof *chat);
  if (!chat) return 1;
  for (size_t i = 0; i < n; i++) chat[i] = (rw_message){i % 2 ? "assistant" : "user", argv[i + 2]};

  rw_error err;
  rw_context *context = NULL;
  rw_model *model = NULL;
  float score;
  rw_status s = rw_context_new(&context, 0, say, NULL, &err);
  if (!s) {
    rw_options o;
    rw_options_defaults(&o);
    o.context = context;
    s = rw_model_open(&model, argv[1], &o, &err);
  }
  if (!s) s = rw_score(model, chat, n, &score, &err);
  if (!s) printf("%.9g\n", score);

  rw_model_close(model); /* before its context */
  rw_context_free(context);
  free(chat);
  return s ? fail(&err) : 0;
}
