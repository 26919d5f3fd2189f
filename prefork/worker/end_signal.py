"""The signal that announces the end of the service to its workers, before they are to drain.

Design
------
- **A real-time signal,** because apps use all others that are free. It arrives before the status
  server can say 503, so a client that connects after it has read the 503 finds ``Connection:
  close``; a field of the scoreboard would be read at the next heartbeat. Connections that are open
  are marked in the next turn of the loop.
"""

import signal

END_SIGNAL = int(signal.SIGRTMIN) + 1
"""Makes a worker close each connection after its next response (``--stop-delay``)."""
