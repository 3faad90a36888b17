#!/usr/bin/env bash
# openrlhf.sh - OpenRLHF's PPO or GRPO with rewards from `reward serve`; options beside are passed on.
#
# usage: openrlhf.sh POLICY [option...]      (URL: the server's, http://127.0.0.1:8000)
#
# OpenRLHF sends texts as the policy's tokenizer rendered them. If the reward model has another chat template, start
# the server with --query-template POLICY, so that its own is used: reward serve --model RM --query-template POLICY
# Several servers: REWARD_URLS holds their addresses with /get_reward, separated by commas.
set -eu
policy=$1
shift
URL=${URL:-http://127.0.0.1:8000}
exec python3 -m openrlhf.cli.train_ppo_ray \
  --actor.model_name_or_path "$policy" \
  --reward.remote_url "${REWARD_URLS:-$URL/get_reward}" \
  "$@"
