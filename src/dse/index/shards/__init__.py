"""An index in shards: several indexes of one student, each in a process of its own, searched as one."""
