"""The families of models, by name. Each is a module with:

Config             its configuration, a RunConfig
scorer(config)                         the name of the agent's scorer
build(config, vocabulary)              a new model
stages(config, model, data)            the stages of its training; each is trained before the next is asked for
graphs(config, model)                  what the export turns into ONNX
settings(config)                       what the manifest tells the scorer
state(config)                          the tensors that each stream carries from line to line
"""

from types import ModuleType

from training.models import language_model, sequence_autoencoder, two_stage

FAMILIES: dict[str, ModuleType] = {
    "two-stage": two_stage,
    "language-model": language_model,
    "sequence-autoencoder": sequence_autoencoder,
}
CONFIGS = {name: family.Config for name, family in FAMILIES.items()}
