"""How fast vllm-sr-sim simulates: one line of JSON for each line on standard input.

    python vllm_sr_sim.py PROMPT OUTPUT LOAD REQUESTS

Needs the package vllm-sr-sim. One pool of one H100, Poisson arrivals, every request alike. The arrival
rate is LOAD times what the simulator says that its H100 can serve. Each round simulates REQUESTS
requests with another seed and prints how many that were for a second of processor time.
"""

import json
import sys
import time
from importlib.metadata import version

from fleet_sim.core.fleet import Fleet, FleetConfig, PoolConfig
from fleet_sim.core.request import Request
from fleet_sim.gpu_profiles.profiles import H100_80GB
from fleet_sim.workload.synthetic import PoissonWorkload


class Alike:
    """A source of requests of one size."""

    def __init__(self, prompt, output):
        self.prompt, self.output = prompt, output

    def sample_request(self, req_id, arrival):
        return Request(req_id=req_id, arrival_time=arrival, l_in=self.prompt, l_out=self.output)


def main():
    prompt, output, load, requests = sys.argv[1:]
    prompt, output, load, requests = int(prompt), int(output), float(load), int(requests)
    context = prompt + output
    rate = load * H100_80GB.throughput(context, prompt, output)
    print(json.dumps({"ready": True, "version": version("vllm-sr-sim"), "rate": rate}), flush=True)
    for seed, _ in enumerate(sys.stdin):
        pool = PoolConfig(pool_id="one", gpu=H100_80GB, n_gpus=1, max_ctx=context)
        fleet = Fleet(FleetConfig(pools=[pool], router_type="LengthRouter", router_kwargs={"threshold": context}))
        started = time.process_time()
        arrivals = PoissonWorkload(rate, Alike(prompt, output), requests, seed=seed).generate()
        result = fleet.run(arrivals)
        took = time.process_time() - started
        print(
            json.dumps(
                {
                    "requests_per_s": len(result.completed) / took,
                    "completed": len(result.completed),
                    "utilisation": result.mean_utilisation(),
                }
            ),
            flush=True,
        )


main()
