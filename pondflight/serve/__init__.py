"""``pondflight serve``: the parts of one deployment, started and ended in order."""
