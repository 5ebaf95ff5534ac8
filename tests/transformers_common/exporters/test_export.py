"""Stand-in for a file that the source distribution of transformers leaves out."""


class ExportTesterMixin:
    """Parent of `ModelTesterMixin`. Exporting is tested in `tests/modeling_audioformer/test_compile.py`."""
