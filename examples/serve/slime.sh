#!/usr/bin/env bash
# slime.sh - slime (or miles) with rewards from `reward serve`; options beside are passed on to its train.py.
#
# usage: slime.sh [option...]      (URL: the server's, http://127.0.0.1:8000; TRAIN: slime's train.py)
#
# With --apply-chat-template slime sends a prompt that is rendered already; leave it out, so that messages are sent and
# the reward model's own template is used. /reward answers the number itself; /reward?key=NAME would name it, for
# --reward-key NAME.
set -eu
URL=${URL:-http://127.0.0.1:8000}
exec python3 "${TRAIN:-train.py}" --rm-type remote_rm --rm-url "$URL/reward" "$@"
