/* score.cpp - the same from C++, with objects that close themselves; and the best of several answers.
 *
 *     c++ -std=c++17 score.cpp -o score $(pkg-config --cflags --libs reward)
 *     ./score MODEL "What is 2+2?" "4" "5" "many"
 *
 * Prints each answer's score; the best one has a star. */
#include <reward.h>

#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

class Model {
 public:
  explicit Model(const std::string &dir) {
    rw_model *m = nullptr;
    rw_error err;
    if (rw_model_open(&m, dir.c_str(), nullptr, &err) != RW_OK) throw std::runtime_error(rw_error_text(&err));
    model_.reset(m);
  }

  // All of them in one call: each gets the bits that it would have alone.
  std::vector<float> score(const std::vector<std::vector<rw_message>> &chats) const {
    std::vector<rw_item> items(chats.size());
    for (size_t i = 0; i < chats.size(); i++) {
      items[i].messages = chats[i].data();
      items[i].n_messages = chats[i].size();
    }
    rw_error err;
    if (rw_score_items(model_.get(), items.data(), items.size(), &err) != RW_OK)
      throw std::runtime_error(rw_error_text(&err));
    std::vector<float> scores;
    for (const rw_item &it : items) {
      if (it.error[0]) throw std::runtime_error(it.error);
      scores.push_back(it.score);
    }
    return scores;
  }

 private:
  struct Close {
    void operator()(rw_model *m) const { rw_model_close(m); }
  };
  std::unique_ptr<rw_model, Close> model_;
};

}  // namespace

int main(int argc, char **argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: score MODEL QUESTION ANSWER...\n");
    return 2;
  }
  try {
    std::vector<std::vector<rw_message>> chats;
    for (int i = 3; i < argc; i++) chats.push_back({{"user", argv[2]}, {"assistant", argv[i]}});
    const std::vector<float> scores = Model(argv[1]).score(chats);
    size_t best = 0;
    for (size_t i = 1; i < scores.size(); i++)
      if (scores[i] > scores[best]) best = i;
    for (size_t i = 0; i < scores.size(); i++)
      std::printf("%.9g%s\n", static_cast<double>(scores[i]), i == best ? " *" : "");
  } catch (const std::exception &e) {
    std::fprintf(stderr, "score: %s\n", e.what());
    return 1;
  }
  return 0;
}
