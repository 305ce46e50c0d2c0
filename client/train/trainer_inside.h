/* The back ends there are. Nobody outside this folder includes this. */
#ifndef CLIENT_TRAIN_TRAINER_INSIDE_H
#define CLIENT_TRAIN_TRAINER_INSIDE_H

#include "client/train/trainer.h"

extern const struct trainer_ops trainer_cnn;
extern const struct trainer_ops trainer_echo;

#endif /* CLIENT_TRAIN_TRAINER_INSIDE_H */
