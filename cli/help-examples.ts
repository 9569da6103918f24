/** What `muster COMMAND --help` ends with: a few lines to copy. It knows words only; `muster run --help` has its own. */
export const helpExamples: Readonly<Record<string, readonly string[]>> = {
  up: [
    'muster up --detach                    a control plane and one agent, until muster down',
    'muster up --detach --agents 2         two nodes on this machine, node1 and node2',
    'muster up --detach --listen 10.0.0.1  other machines may join: muster token create',
  ],
  agent: ['muster agent --join HOST:PORT --token TOKEN --ca-hash HASH   as muster token create prints it'],
  apply: [
    'muster apply -f job.yaml              what the file says becomes so',
    'muster apply -f jobs/ --dry-run       checks a directory of manifests',
  ],
  get: [
    'muster get pg                         all jobs of the namespace',
    'muster get pg cpi -o yaml             all there is to know of one',
    'muster get pg,nm -w                   jobs and nodes, and what changes',
  ],
  describe: ['muster describe pg cpi                why it waits, or how it ended'],
  delete: [
    'muster delete pg cpi                  ends the job if it runs',
    'muster delete -f job.yaml             what the file created',
  ],
  logs: [
    'muster logs -f cpi                    until the job has ended',
    'muster logs cpi -r 0 --no-label       what rank 0 wrote, as it was',
  ],
  signal: ['muster signal USR1 cpi -r 0-3         to four of its ranks'],
  suspend: [
    'muster suspend night                  every rank stops where it is; memory and nodes stay taken',
    'muster suspend --policy checkpoint night   saved and ended; resume brings it back wherever there is room',
  ],
  checkpoint: [
    'muster checkpoint night               saved; the job runs on',
    'muster checkpoint --stop night        saved and ended: muster restart brings it back',
  ],
  migrate: [
    'muster migrate night --from node1     its ranks on node1 go elsewhere, and run on',
    'muster migrate night --ranks 4-7 --to node3',
  ],
  restart: ['muster restart night-x7k2p --nodes node[3-4]'],
  wait: ['muster wait cpi --for Running --timeout 60'],
  drain: [
    'muster drain node1                    jobs move to other nodes while they run; waits until it is empty',
    'muster drain node1 --policy checkpoint   they are saved, and go on elsewhere where there is room',
  ],
  uncordon: ['muster uncordon node1                 placed on again; says what else keeps it cordoned'],
  token: ['muster token create --ttl 600         prints the command for the other machine'],
  dashboard: [
    'muster dashboard                      prints the address; Ctrl-C ends the page',
    'muster --kubeconfig FILE dashboard    of a cluster elsewhere, with the rights of that file',
  ],
  completion: ['source <(muster completion bash)'],
};
