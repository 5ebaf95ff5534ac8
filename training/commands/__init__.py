"""The commands that train and measure: `audioformer pretrain`, `finetune` and `evaluate`."""
