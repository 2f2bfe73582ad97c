"""Empty tasks through Ray on this machine; prints one JSON object.

Each task is a function that returns nothing, which is the least that Ray can be
asked for: nothing is journaled, and nothing survives the driver.
"""

import json
import sys
import time

import ray


@ray.remote
def nothing():
    return None


def main():
    tasks, workers = int(sys.argv[1]), int(sys.argv[2])
    # A CPU for each worker, so that Ray starts as many as our farm has nodes.
    ray.init(num_cpus=workers, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    ray.get([nothing.remote() for _ in range(workers * 16)])  # Starts the workers.
    began = time.monotonic()
    ray.get([nothing.remote() for _ in range(tasks)])
    seconds = time.monotonic() - began
    ray.shutdown()
    report = {"version": ray.__version__, "workers": workers, "tasks": tasks}
    print(json.dumps(report | {"seconds": seconds, "tasks_per_second": tasks / seconds}))


if __name__ == "__main__":
    main()
