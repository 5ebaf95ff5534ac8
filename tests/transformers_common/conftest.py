"""The copied files hold mixins, to be run through our own test classes and never by themselves."""

collect_ignore_glob = ["test_*.py", "*/test_*.py"]
