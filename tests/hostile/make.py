#!/usr/bin/env python3
"""make.py DIR REPOSITORY - the hostile inputs that cannot be committed: pipes, links, sparse files, bombs, raw escapes."""
import gzip, json, os, shutil, socket, struct, sys

out, root = sys.argv[1], sys.argv[2]
os.makedirs(out)
llama = os.path.join(root, "tests/data/model/llama")


def path(*names):
    return os.path.join(out, *names)


def model(name, **changes):
    """A copy of a model; changes: fields of its config.json."""
    shutil.copytree(llama, path(name))
    config = json.load(open(path(name, "config.json")))
    config.update(changes)
    text = json.dumps(config)
    for field, value in changes.items():  # a number that Python would not write
        if isinstance(value, str) and value.startswith("raw:"):
            text = text.replace(json.dumps(value), value[4:])
    open(path(name, "config.json"), "w").write(text)
    return name


def safetensors(file, names):
    head = json.dumps({n: {"dtype": "F32", "shape": [1], "data_offsets": [4 * i, 4 * i + 4]} for i, n in enumerate(names)}).encode()
    open(file, "wb").write(struct.pack("<Q", len(head)) + head + bytes(4 * len(names)))


ids = lambda n, k: [3 + (i * k) % 50 for i in range(n)]
with open(path("pairs.jsonl"), "w") as f:
    for i in range(8):
        f.write(json.dumps({"chosen_ids": ids(5 + i, 3), "rejected_ids": ids(4 + i, 7)}) + "\n")
open(path("secret"), "w").write("-----BEGIN OPENSSH PRIVATE KEY-----\nc3RvbGVu\n")
open(path("secret.json"), "w").write('{"auths": {"registry": {"auth": "c3RvbGVu"}}}\n')

# links out of a checkpoint, and copies that are not what they say
for name, target in (("link-key", "secret"), ("link-json", "secret.json")):
    os.symlink("../" + target, path(model(name), "generation_config.json"))
os.remove(path(model("link-config"), "config.json"))
shutil.copy(os.path.join(llama, "config.json"), path("outside.json"))
os.symlink("../outside.json", path("link-config", "config.json"))
os.symlink("../secret", path(model("link-template"), "chat_template.jinja"))
shutil.copy(path("secret"), path(model("key-as-json"), "generation_config.json"))
shutil.copy(path("secret"), path(model("key-as-model"), "tokenizer.model.aside"))
os.rename(path("key-as-model", "tokenizer.model.aside"), path("key-as-model", "tokenizer.model"))
# the hub's own cache: a snapshot of links to blobs of the same model
snapshot, blobs = path("models--a--b", "snapshots", "0"), path("models--a--b", "blobs")
os.makedirs(snapshot), os.makedirs(blobs)
for name in os.listdir(llama):
    shutil.copy(os.path.join(llama, name), os.path.join(blobs, name + ".blob"))
    os.symlink("../../blobs/" + name + ".blob", os.path.join(snapshot, name))
open(os.path.join(blobs, "g"), "w").write('{"temperature": 1}\n')
os.symlink("../../blobs/g", os.path.join(snapshot, "generation_config.json"))

# files that are no files
for name, make in (("fifo", os.mkfifo), ("folder", os.mkdir), ("zero", lambda p: os.symlink("/dev/zero", p))):
    os.remove(path(model(name + "-config"), "config.json"))
    make(path(name + "-config", "config.json"))
os.remove(path(model("socket-config"), "config.json"))
here = os.getcwd()
os.chdir(path("socket-config"))  # the name of a socket is short
socket.socket(socket.AF_UNIX).bind("config.json")
os.chdir(here)
os.remove(path(model("sparse-config"), "config.json"))
os.truncate(os.open(path("sparse-config", "config.json"), os.O_CREAT | os.O_WRONLY), 1 << 30)
os.remove(path(model("fifo-weights"), "model.safetensors"))
os.mkfifo(path("fifo-weights", "model.safetensors"))
os.mkfifo(path("fifo.gguf"))
os.mkfifo(path("fifo.yaml"))

os.symlink("secret", path("log-link"))

# an adapter on itself
shutil.copytree(os.path.join(root, "tests/data/lora/llama"), path("self-adapter"))
config = json.load(open(path("self-adapter", "adapter_config.json")))
json.dump(config | {"base_model_name_or_path": "."}, open(path("self-adapter", "adapter_config.json"), "w"))

# numbers that are none
for field in ("rms_norm_eps", "rope_theta", "initializer_range"):
    model("huge-" + field, **{field: "raw:1e999"})
model("negative-eps", rms_norm_eps=-1)

# bombs
with gzip.open(path("zeros.gz"), "wb", 9) as f:
    for _ in range(320):
        f.write(bytes(1 << 20))
with gzip.open(path("blank.gz"), "wb", 9) as f:
    for _ in range(80):
        f.write(b"\n" * (1 << 20))
open(path("nodes.jsonl"), "w").write('{"chosen_ids": [' + "0," * 17000000 + "0]}\n")

# terminal escapes
ESC = "\x1b]52;c;ZXZpbA==\x07\x1b[2J\r\nreward: done\u009b31m\u202eevil"
os.mkdir(path("names"))
safetensors(path("names.safetensors"), ["x" + ESC])
model("esc-type", model_type="llama" + ESC)
os.mkdir(path("esc-adapter"))
json.dump({"peft_type": "LORA", "r": 1, "lora_alpha": 1, "base_model_name_or_path": "base" + ESC}, open(path("esc-adapter", "adapter_config.json"), "w"))
