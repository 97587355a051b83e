"""The sections of the help of ``train`` and ``lr-find``: each flag is in one section, in this order."""

GROUPS = {
    "Sweep": ("lowest", "highest", "picture"),  # of lr-find
    "Data": (
        *("data", "target", "drop", "categories", "task", "test_fraction", "test_data", "validation_fraction"),
        *("validation_data", "stratify", "class_weight", "sample_weight", "augment", "seed"),
    ),
    "Network": ("hidden", "activation", "output_activation", "loss", "dtype"),
    "Optimization": (
        *("epochs", "batch_size", "optimizer", "learning_rate", "momentum", "nesterov", "lr_schedule", "lr_decay"),
        *("lr_step_epochs", "lr_step_factor", "warmup_epochs"),
    ),
    "Regularization": ("l2", "dropout", "early_stopping"),
    "Evaluation": ("monitor", "report", "log"),
    "Distributed": (
        *("shards", "deterministic", "bucket_mb", "compress", "threads", "verify_replicas", "stall_timeout"),
        "timeline",
    ),
    "Output": ("output", "overwrite", "resume", "checkpoint_every", "keep", "progress", "quiet", "json"),
    "Command": ("config", "dry_run", "help", "help_all"),
}

# flags that only --help-all shows
RARE = frozenset(
    {
        *("output_activation", "nesterov", "lr_decay", "lr_step_epochs", "lr_step_factor", "bucket_mb", "keep"),
        *("verify_replicas", "stall_timeout", "timeline"),
    }
)


def group_of(name: str) -> str:
    """Return the section of the flag of this parameter."""
    return next((group for group, names in GROUPS.items() if name in names), "Other")
