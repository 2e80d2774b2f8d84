"""How long a test waits for something before it fails.

Nothing passes because of it, so it is generous: several times what the system itself waits for before it goes on without
somebody who is gone (10 s for a lease or an acknowledgement), on a machine that has other things to do.
"""

DEADLINE_S = 60.0
