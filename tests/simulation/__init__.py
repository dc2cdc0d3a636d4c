"""The pool in a world of its own: a seed decides over time, threads and every fault.

``scheduler`` runs the pool's threads one at a time under a clock of its own; ``engine`` is what
starts workers, and all that can go wrong with it; ``world`` has proxies and users, and checks what
must hold; in ``morning``, ten thousand users of a cluster come at once.
"""
