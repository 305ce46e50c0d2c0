/* The table of commands. */
#include "reducer/cli/cmd.h"

#define ID_TEXT "An ID may be given by its first letters; `latest` is the newest."

const struct cmd cmd_all[] = {
    {"", "up", "", 0, 0, "run a whole federation on this machine",
     "Starts a reducer, combiners and clients as processes of their own, and stays in the\n"
     "foreground until Ctrl-C, which stops them in order (a second one kills what is left). A process\n"
     "that dies is started again.\n"
     "State, models and logs lie in --dir, so that the next `confed up` goes on from there.\n"
     "With --rounds it runs one session, shows it, and ends when that has ended.\n"
     "With --json the last line is one object: the session's result (accuracy, loss, model_id and\n"
     "others), or the addresses when everything is ready.",
     "  confed up --data ~/mnist\n"
     "  confed up --data ~/mnist --clients 10 --combiners 2 --partition dirichlet:0.5\n"
     "  confed up --data ~/mnist --rounds 5 --json | tail -1\n"
     "  confed up --trainer echo --clients 50    no data: clients send the model back\n",
     &cmd_up_options, cmd_up},
    {"", "status", "", 0, 0, "what goes on, and what is waited for",
     "The line `now` says what the open round waits for, and for how long still.",
     "  confed status\n  confed status --json | jq -r .waits_for\n", &cmd_no_options, cmd_status},
    {"", "doctor", "", 0, 0, "what is wrong, and what to do about it",
     "Checks the reducer, its store and blobs (reach, rights, speed), disk space, combiners and\n"
     "clients: a line each, with what to do. Exit status 1 when a check has failed. Where the\n"
     "reducer does not start, --config FILE checks its settings on its machine.",
     "  confed doctor\n  confed doctor --config /etc/confed/reducer.yaml\n", &cmd_doctor_options,
     cmd_doctor},
    {"", "backup", "DIR", 1, 1, "copy metadata and models to a folder",
     "The reducer is stopped meanwhile. DIR gets confed.db and blobs/; models that an earlier\n"
     "backup has left there are not copied again. Checked by SHA-256.",
     "  confed backup --config /etc/confed/reducer.yaml /backup/confed\n", &cmd_backup_options,
     cmd_backup},
    {"", "restore", "DIR", 1, 1, "copy a backup to the reducer's back ends",
     "The reducer is stopped, and its back ends are empty, or hold a part of this backup: nothing is\n"
     "written over.",
     "  confed restore --config /etc/confed/reducer.yaml /backup/confed\n", &cmd_backup_options,
     cmd_restore},
    {"", "migrate", "", 0, 0, "copy a federation to other back ends",
     "Metadata and models, with the reducer stopped; checked by SHA-256 and read back. A copy that\n"
     "was cut off is started again and goes on: what is there and equal is skipped. Where both sides\n"
     "have the same metadata, models and packages move alone. Passwords come from the settings'\n"
     "files.",
     "  confed migrate --from old.yaml --to reducer.yaml\n"
     "  confed migrate --from-store sqlite:confed.db --from-blob dir:blobs --to reducer.yaml\n",
     &cmd_migrate_options, cmd_migrate},
    {"", "hold", "-- PROGRAM [ARG...]", 1, ARGS_WORDS_MAX,
     "keep a combiner's port open over its crash",
     "Listens, starts the program with `--listen fd:N`, and starts it again when it dies: its clients\n"
     "wait meanwhile and are not refused. SIGTERM is passed on; then the program's exit status is\n"
     "this command's, as when it ends with 2: its options or settings are wrong. PROGRAM lies beside\n"
     "this program, or is a path with a `/`. What follows `--` is PROGRAM's: options of this command\n"
     "stand before it. Where systemd holds the socket, nobody needs this.",
     "  confed hold --listen 0.0.0.0:12080 -- confed-combiner --config /etc/confed/combiner.yaml\n",
     &cmd_hold_options, cmd_hold},
    {"session", "start", "", 0, 0, "start rounds from a model",
     "One session runs at a time. The reducer runs it, not this command: without --wait it ends\n"
     "when the session has started, and Ctrl-C during --wait leaves the session running.",
     "  confed session start --model cnn --rounds 5 --wait\n"
     "  confed session start --model latest --clients-per-round 10 --clients-required 8\n"
     "  confed session start --model seed.npz --epochs 2 --batch 32 --lr 0.05\n",
     &cmd_session_start_options, cmd_session_start},
    {"session", "watch", "[ID]", 0, 1, "show rounds as they go",
     "A line a round: how many clients train, have uploaded, have validated; the mean loss and\n"
     "accuracy of their validations. Without ID the running session, else the newest. Ctrl-C ends\n"
     "the watching, not the session.\n\n" ID_TEXT,
     "  confed session watch\n", &cmd_no_options, cmd_session_watch},
    {"session", "list", "", 0, 0, "all sessions, newest first", "One line a session.",
     "  confed session list --json | jq -r '.[].session_id'\n", &cmd_list_options,
     cmd_session_list},
    {"session", "show", "[ID]", 0, 1, "a session with its rounds",
     "Without ID the running session, else the newest.\n\n" ID_TEXT,
     "  confed session show\n  confed session show 3f2a\n", &cmd_no_options, cmd_session_show},
    {"session", "stop", "[ID]", 0, 1, "end a session after its open round",
     "The open round runs to its end and counts, unless --now is given. Without ID the running\n"
     "session.\n\n" ID_TEXT,
     "  confed session stop\n  confed session stop --now\n", &cmd_session_stop_options,
     cmd_session_stop},
    {"round", "list", "", 0, 0, "rounds, newest first", "One line a round.",
     "  confed round list --session latest\n", &cmd_list_options, cmd_round_list},
    {"round", "show", "[ID]", 0, 1, "a round: who counts, who was refused and why",
     "Without ID the newest round.", "  confed round show\n  confed round show 17\n",
     &cmd_no_options, cmd_round_show},
    {"model", "new", "cnn", 1, 1, "make the built-in model with fresh values",
     "The CNN for 28x28 images of McMahan et al. 2017: 1,663,370 parameters in 8 tensors, in the\n"
     "order of a PyTorch module's state_dict():\n\n"
     "  0 conv1.weight (32,1,5,5)    1 conv1.bias (32,)    2 conv2.weight (64,32,5,5)\n"
     "  3 conv2.bias (64,)           4 fc1.weight (512,3136)   5 fc1.bias (512,)\n"
     "  6 fc2.weight (10,512)        7 fc2.bias (10,)\n\n"
     "float32, C order, members 0.npy to 7.npy of an NPZ file. The values are PyTorch's default\n"
     "for such layers, a function of --seed alone.",
     "  confed model new cnn --seed 7 --output seed.npz\n"
     "  confed model new cnn --upload\n",
     &cmd_model_new_options, cmd_model_new},
    {"model", "list", "", 0, 0, "models, newest first", "One line a model.",
     "  confed model list --session latest\n", &cmd_list_options, cmd_model_list},
    {"model", "show", "[ID]", 0, 1, "a model's origin, size and checksum",
     "Without ID the newest model.\n\n" ID_TEXT, "  confed model show\n", &cmd_no_options,
     cmd_model_show},
    {"model", "download", "[ID]", 0, 1, "write a model to a file",
     "An NPZ file that NumPy opens; its SHA-256 is checked. Without ID the newest model.\n\n" ID_TEXT,
     "  confed model download latest --output model.npz\n"
     "  python3 -c 'import numpy; print(dict(numpy.load(\"model.npz\")))'\n",
     &cmd_model_download_options, cmd_model_download},
    {"model", "upload", "FILE", 1, 1, "give a seed model to the reducer",
     "FILE is an NPZ of numeric arrays 0.npy, 1.npy ... as numpy.savez writes with these names.",
     "  confed model upload seed.npz --name first\n", &cmd_model_upload_options, cmd_model_upload},
    {"model", "prune", "", 0, 0, "remove the files of old models",
     "The newest N stay, with --keep-best the best one too, every seed, and what an open session\n"
     "stands on. The models' records stay, so that the trail is whole; a download of a pruned one is\n"
     "answered 410. Shows what would go and asks.",
     "  confed model prune --keep 10\n"
     "  confed model prune --keep 1 --keep-best accuracy --yes\n",
     &cmd_model_prune_options, cmd_model_prune},
    {"client", "list", "", 0, 0, "clients, and which are attached", "One line a client.",
     "  confed client list\n", &cmd_list_options, cmd_client_list},
    {"client", "show", "ID", 1, 1, "a client", ID_TEXT, "  confed client show client-1\n",
     &cmd_no_options, cmd_client_show},
    {"combiner", "list", "", 0, 0, "combiners, and which are attached", "One line a combiner.",
     "  confed combiner list\n", &cmd_list_options, cmd_combiner_list},
    {"validation", "list", "", 0, 0, "what clients measured of each model",
     "One line a client and model.", "  confed validation list --session latest --limit 0\n",
     &cmd_list_options, cmd_validation_list},
    {"package", "upload", "FILE", 1, 1, "give FEDn clients their compute package",
     "FILE is a .tgz with a fedn.yaml in it; it becomes the active package. Confed's own clients\n"
     "need none.",
     "  confed package upload package.tgz --name mnist\n", &cmd_package_upload_options,
     cmd_package_upload},
    {"package", "list", "", 0, 0, "compute packages, newest first", "One line a package.",
     "  confed package list\n", &cmd_list_options, cmd_package_list},
};
const size_t cmd_count = sizeof(cmd_all) / sizeof(cmd_all[0]);
