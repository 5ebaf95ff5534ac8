"""Stand-in for a file that the source distribution of transformers leaves out."""

# One value other than the default for each attribute that every configuration has.
config_common_kwargs = {
    "return_dict": False,
    "output_hidden_states": True,
    "output_attentions": True,
    "dtype": "float16",
    "chunk_size_feed_forward": 5,
    "architectures": ["AnyModel"],
    "id2label": {0: "only"},
    "label2id": {"only": 0},
    "problem_type": "regression",
}
