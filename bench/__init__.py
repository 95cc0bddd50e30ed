"""How fast the mirror is, beside its peers and beside the limit: `mediamirror-bench --help`."""
