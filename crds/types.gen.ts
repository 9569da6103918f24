// Generated from crds/*.yaml by crds/generate-types.ts. Do not edit: change the YAML and run `make generate`.
import type { Condition, KubernetesObject } from './objects.ts';

/** What the user wants. Controllers never write it. */
export interface ProcessGroupSpec {
  /** Number of ranks. Required with processes; a restore takes it from the checkpoint. */
  size?: number;
  /** The programs. Their rank sets together cover 0 to size-1, each rank exactly once. */
  processes?: ProcessGroupProcess[];
  /** Where ranks run. */
  placement?: ProcessGroupPlacement;
  /** The carrier Pods on Kubernetes; a bounded part of core's PodTemplateSpec. On bare metal use root. */
  template?: ProcessGroupTemplate;
  /** Root file system of the sandboxes on bare metal; Host for the node's own, or a directory that the node's configuration offers as a root. Absent, Host. */
  root?: string;
  /** What each rank needs. */
  resources?: ProcessGroupResources;
  /** As whom the ranks run. Absent, the uid that the authenticated user is mapped to, else 65534; never root by default. */
  securityContext?: ProcessGroupSecurityContext;
  /** Resource limits of every rank's processes (setrlimit). What is absent is as the node's configuration says. */
  rlimits?: ProcessGroupRlimit[];
  /** What the ranks' environment starts from; Clean for HOME, USER, SHELL, PATH and LANG only, Login for what a login of the user on the node sets. */
  environment?: 'Clean' | 'Login';
  /** Process management interface that the ranks get. Absent, as the cluster offers; the choice stands in status.resolved. */
  pmi?: 'Auto' | 'PMI1' | 'PMI2' | 'PMIx' | 'None';
  /** Where the ranks' standard input comes from and their output goes. */
  stdio?: ProcessGroupStdio;
  /** Whether each rank gets a terminal in place of pipes. */
  tty?: boolean;
  /** Isolated gives each sandbox an address of its own that moves with it; Host gives the node's network at native speed. Absent, as the cluster offers; the choice stands in status.resolved. */
  network?: 'Isolated' | 'Host';
  /** Whether ranks in an Isolated network reach addresses outside of their group. */
  egress?: 'Allow' | 'Deny';
  /** What becomes of connections to the outside at a checkpoint or move; Reset closes them, Refuse refuses the checkpoint while there are any. */
  externalConnections?: 'Reset' | 'Refuse';
  /** Whether the group is to stand still. Written by users, or by a queue manager that manages the group. */
  suspend?: boolean;
  /** How the group is suspended; Freeze stops its processes in place, Checkpoint saves and vacates, Stop ends them, gives back the nodes and starts the group from its beginning when it is resumed, with new logs. Absent, as the cluster offers; the choice stands in status.resolved. */
  suspendPolicy?: 'Freeze' | 'Checkpoint' | 'Stop';
  /** Checkpoints taken without being asked for. */
  checkpointPolicy?: ProcessGroupCheckpointPolicy;
  /** A checkpoint to go on from, in place of processes. */
  restoreFrom?: ProcessGroupRestoreFrom;
  /** What happens when something fails. */
  failurePolicy?: ProcessGroupFailurePolicy;
  /** Bounds on the whole group. Reaching one ends it, and status tells which. */
  limits?: ProcessGroupLimits;
  /** Seconds between SIGTERM and SIGKILL when the group is ended. */
  gracePeriodSeconds?: number;
  /** Seconds after which a finished group is deleted. Absent, never. */
  ttlSecondsAfterFinished?: number;
  /** Queue that the group waits in. */
  queueName?: string;
  /** Larger goes first where groups compete. */
  priority?: number;
  /** Groups that must have come so far before this one starts. */
  dependsOn?: ProcessGroupDependency[];
  /** Controller that carries the group out. Absent or muster.dev/processgroup-controller, Muster's own. */
  managedBy?: string;
}

/** One program and the ranks that run it. */
export interface ProcessGroupProcess {
  /** Name of this entry, unique in the group. */
  name: string;
  /** Ranks that run this program, as a rank set such as "0-3,7" or "0-14:2" (every second rank). */
  ranks: string;
  /** The program and its first arguments. A program without a slash is searched in path. No shell is involved. */
  command: string[];
  /** Further arguments, appended to command. */
  args?: string[];
  /** Environment variables of these ranks. They win over what the environment setting brings. */
  env?: ProcessGroupProcessEnvVar[];
  /** Working directory, an absolute path inside the sandbox, entered as the job's user. Absent, the user's home directory, or / where there is none. */
  workingDir?: string;
  /** Directories to search for the program, separated by colons. Absent, the PATH of the rank's environment. */
  path?: string;
  /** A tool such as a debugger or monitor, started beside each of these ranks as the job's user. It ends with its rank. */
  coProcess?: ProcessGroupProcessCoProcess;
}

/** One environment variable, with a value or a fact about the rank. */
export interface ProcessGroupProcessEnvVar {
  /** Name of the variable. */
  name: string;
  /** Its value, taken literally. */
  value?: string;
  /** Fact that becomes the value; of the rank itself (Rank, LocalRank, Node, Ordinal of its sandbox), of its sandbox (LocalSize) or of the group (Size, GroupName, GroupNamespace, GroupUid), or the name of this entry (ProcessName). */
  rankField?: 'Rank' | 'Size' | 'LocalRank' | 'LocalSize' | 'Node' | 'Ordinal' | 'GroupName' | 'GroupNamespace' | 'GroupUid' | 'ProcessName';
}

/** A tool such as a debugger or monitor, started beside each of these ranks as the job's user. It ends with its rank. */
export interface ProcessGroupProcessCoProcess {
  /** The tool and its arguments. The variable MUSTER_RANK_PID tells it the process to look at. */
  command: string[];
}

/** Where ranks run. */
export interface ProcessGroupPlacement {
  /** Nodes to use, in this order, as in a host file. A node named n times takes n shares. Absent, any node that nodeSelector lets through. */
  nodes?: string[];
  /** Labels that a node must carry to be used. */
  nodeSelector?: Record<string, string>;
  /** Ranks for each node, or for each mention in nodes. Absent, as many as the node has free cores. */
  ranksPerNode?: number;
  /** Block fills a node before it takes the next; Cyclic deals ranks out one at a time. */
  policy?: 'Block' | 'Cyclic';
  /** Ranks in one sandbox, which is what migrates as a whole. Absent, all of the group's ranks on a node share one. */
  ranksPerSandbox?: number;
  /** What each rank is bound to. */
  binding?: 'None' | 'Core' | 'Socket';
}

/** The carrier Pods on Kubernetes; a bounded part of core's PodTemplateSpec. On bare metal use root. */
export interface ProcessGroupTemplate {
  /** Labels and annotations of the carrier Pods. Can change while the group is vacated. */
  metadata?: ProcessGroupTemplateMetadata;
  /** What the carrier Pods are made of. */
  spec?: ProcessGroupTemplateSpec;
}

/** Labels and annotations of the carrier Pods. Can change while the group is vacated. */
export interface ProcessGroupTemplateMetadata {
  /** Labels of the Pods. */
  labels?: Record<string, string>;
  /** Annotations of the Pods. */
  annotations?: Record<string, string>;
}

/** What the carrier Pods are made of. */
export interface ProcessGroupTemplateSpec {
  /** Container image that is the root of every sandbox. */
  image?: string;
  /** When the image is pulled; absent, as core decides by its tag. */
  imagePullPolicy?: 'Always' | 'IfNotPresent' | 'Never';
  /** Secrets to pull the image with. */
  imagePullSecrets?: ProcessGroupTemplateSpecImagePullSecret[];
  /** Service account of the Pods. */
  serviceAccountName?: string;
  /** Scheduler that places the Pods. */
  schedulerName?: string;
  /** Priority class of the Pods. */
  priorityClassName?: string;
  /** How the Pods, and with them the ranks, are confined. */
  securityContext?: ProcessGroupTemplateSpecSecurityContext;
  /** Labels that a Pod's node must carry. Can change while the group is vacated. */
  nodeSelector?: Record<string, string>;
  /** Taints that the Pods tolerate. Can change while the group is vacated. */
  tolerations?: ProcessGroupTemplateSpecToleration[];
  /** Volumes of the Pods, each of exactly one kind. Host paths are not among them; the node's configuration binds those. */
  volumes?: ProcessGroupTemplateSpecVolume[];
  /** Where the volumes appear in the sandboxes. */
  volumeMounts?: ProcessGroupTemplateSpecVolumeMount[];
}

/** A Secret in the group's namespace. */
export interface ProcessGroupTemplateSpecImagePullSecret {
  /** Name of the Secret. */
  name: string;
}

/** How the Pods, and with them the ranks, are confined. */
export interface ProcessGroupTemplateSpecSecurityContext {
  /** What Pods may ask of the kernel; absent, RuntimeDefault. Ranks are under Muster's own filter in any case, and under a profile of the nodes besides. */
  seccompProfile?: ProcessGroupTemplateSpecSecurityContextSeccompProfile;
}

/** What Pods may ask of the kernel; absent, RuntimeDefault. Ranks are under Muster's own filter in any case, and under a profile of the nodes besides. */
export interface ProcessGroupTemplateSpecSecurityContextSeccompProfile {
  /** Where the profile comes from, the container runtime or a file of the node. */
  type: 'RuntimeDefault' | 'Localhost';
  /** Path of the file below the kubelet's directory of profiles, on every node. It has to allow what starts the ranks; begin with the runtime's own. */
  localhostProfile?: string;
}

/** One toleration, as in core. */
export interface ProcessGroupTemplateSpecToleration {
  /** Key of the taint; absent, every key. */
  key?: string;
  /** How value is compared; absent, Equal. */
  operator?: 'Exists' | 'Equal';
  /** Value of the taint, for Equal. */
  value?: string;
  /** Effect of the taint; absent, every effect. */
  effect?: 'NoSchedule' | 'PreferNoSchedule' | 'NoExecute';
  /** How long a NoExecute taint is tolerated; absent, for ever. */
  tolerationSeconds?: number;
}

/** One volume. */
export interface ProcessGroupTemplateSpecVolume {
  /** Name that volumeMounts refer to. */
  name: string;
  /** An empty directory that lives as long as the Pod. */
  emptyDir?: ProcessGroupTemplateSpecVolumeEmptyDir;
  /** A claim in the group's namespace. */
  persistentVolumeClaim?: ProcessGroupTemplateSpecVolumePersistentVolumeClaim;
  /** A ConfigMap in the group's namespace. */
  configMap?: ProcessGroupTemplateSpecVolumeConfigMap;
  /** A Secret in the group's namespace. */
  secret?: ProcessGroupTemplateSpecVolumeSecret;
}

/** An empty directory that lives as long as the Pod. */
export interface ProcessGroupTemplateSpecVolumeEmptyDir {
  /** Memory for a tmpfs, else the node's disk. */
  medium?: '' | 'Memory';
  /** Most it may hold. */
  sizeLimit?: number | string;
}

/** A claim in the group's namespace. */
export interface ProcessGroupTemplateSpecVolumePersistentVolumeClaim {
  /** Name of the claim. */
  claimName: string;
  /** Whether every mount is read-only. */
  readOnly?: boolean;
}

/** A ConfigMap in the group's namespace. */
export interface ProcessGroupTemplateSpecVolumeConfigMap {
  /** Name of the ConfigMap. */
  name: string;
  /** Whether it may be missing. */
  optional?: boolean;
}

/** A Secret in the group's namespace. */
export interface ProcessGroupTemplateSpecVolumeSecret {
  /** Name of the Secret. */
  secretName: string;
  /** Whether it may be missing. */
  optional?: boolean;
}

/** One mount. */
export interface ProcessGroupTemplateSpecVolumeMount {
  /** Name of one of volumes. */
  name: string;
  /** Absolute path inside the sandbox. */
  mountPath: string;
  /** Path inside the volume to mount instead of its root. */
  subPath?: string;
  /** Whether ranks may not write to it. */
  readOnly?: boolean;
}

/** What each rank needs. */
export interface ProcessGroupResources {
  /** Amounts that placement sets aside for each rank, such as cpu, memory or a device's resource name. */
  requests?: Record<string, number | string>;
  /** Amounts that each rank may not exceed. */
  limits?: Record<string, number | string>;
  /** Device sets, by the names that the node's configuration gives them, which appear in the sandbox's /dev. */
  devices?: string[];
}

/** As whom the ranks run. Absent, the uid that the authenticated user is mapped to, else 65534; never root by default. */
export interface ProcessGroupSecurityContext {
  /** User id of the ranks. The nodes' own list of allowed ids has the last word. */
  runAsUser?: number;
  /** Group id of the ranks. Absent, the user's own group on the node, else the same number as the user. */
  runAsGroup?: number;
  /** Further group ids of the ranks. */
  supplementalGroups?: number[];
  /** File mode creation mask in octal, such as "022". Absent, 022. */
  umask?: string;
}

/** One limit. */
export interface ProcessGroupRlimit {
  /** Which limit. */
  name: 'AddressSpace' | 'Core' | 'Cpu' | 'Data' | 'FileSize' | 'Locks' | 'MemoryLock' | 'MessageQueue' | 'Nice' | 'OpenFiles' | 'Processes' | 'ResidentSet' | 'RealTimePriority' | 'RealTime' | 'PendingSignals' | 'Stack';
  /** Soft limit, a number or Unlimited. Absent, the same as hard. */
  soft?: number | string;
  /** Hard limit, a number or Unlimited. Absent, the same as soft. */
  hard?: number | string;
}

/** Where the ranks' standard input comes from and their output goes. */
export interface ProcessGroupStdio {
  /** Which ranks get the input of the attached client. The others read end of file. */
  stdin?: 'None' | 'Rank0' | 'All';
  /** Collect for the group's log, Files for a file of each rank in the sandbox, Discard for nothing. */
  stdout?: 'Collect' | 'Files' | 'Discard';
  /** As stdout. */
  stderr?: 'Collect' | 'Files' | 'Discard';
  /** Name of each rank's file for stdout Files, opened inside the sandbox as the job's user. %r is the rank, %s the size, %h the node, %g the group's name, %% a percent sign. */
  stdoutFile?: string;
  /** As stdoutFile, for stderr. The same name as stdoutFile sends both to one file. */
  stderrFile?: string;
  /** Whether every line shown to a reader begins with its rank. */
  labelRanks?: boolean;
  /** What happens when the log's quota is used up; Rotate drops the oldest output, Block lets the ranks wait until the group's reader has it: its `muster run`, or without one whoever follows it with `muster logs -f`. */
  whenFull?: 'Rotate' | 'Block';
  /** Most bytes of collected output kept for the group on one node. Absent, as the node's configuration says. */
  logQuota?: number | string;
}

/** Checkpoints taken without being asked for. */
export interface ProcessGroupCheckpointPolicy {
  /** Seconds of running between two checkpoints, or Auto to choose by their cost and the failure rate. */
  interval?: number | string;
  /** How many of the policy's own checkpoints are kept. Others are never removed. */
  keep?: number;
  /** Storage, by the name an administrator gave it. Absent, the cluster's default. */
  storage?: string;
  /** Nodes or stores that hold each image. Absent, as the storage says. */
  copies?: number;
  /** Whether one is taken when the group is suspended with Freeze. */
  onSuspend?: boolean;
  /** Whether one is taken in time before the wall time ends. */
  beforeWallTime?: boolean;
  /** What takes the images; Criu saves processes as they are, Application has ranks save themselves and starts them anew from what they have written. Auto is Application for a group that was brought back from such a checkpoint, else Criu. Application counts from the group's next start. */
  engine?: 'Auto' | 'Criu' | 'Application';
  /** What a restore does with files that were open for writing; Truncate cuts them back to the checkpoint, Snapshot keeps copies, Refuse takes no checkpoint while there are any. */
  openFiles?: 'Truncate' | 'Snapshot' | 'Refuse';
  /** Signal that every rank gets before it is saved, for programs that let go of something then and do not use the library. */
  signal?: 'SIGHUP' | 'SIGINT' | 'SIGQUIT' | 'SIGUSR1' | 'SIGUSR2' | 'SIGALRM' | 'SIGTERM' | 'SIGURG' | 'SIGXCPU' | 'SIGWINCH';
  /** How long ranks have between signal and checkpoint. Absent, 1 second. */
  signalSeconds?: number;
}

/** A checkpoint to go on from, in place of processes. */
export interface ProcessGroupRestoreFrom {
  /** Name of a Checkpoint in the same namespace. */
  checkpointName: string;
}

/** What happens when something fails. */
export interface ProcessGroupFailurePolicy {
  /** When a rank fails; Abort ends the group, Continue lets the others run. */
  rank?: 'Abort' | 'Continue';
  /** When a node is lost; Fail ends the group, Restart starts it from the beginning, RestoreLatestCheckpoint goes on from the last checkpoint. */
  node?: 'Fail' | 'Restart' | 'RestoreLatestCheckpoint';
  /** How often the group may be started again before it fails for good. */
  maxRestarts?: number;
}

/** Bounds on the whole group. Reaching one ends it, and status tells which. */
export interface ProcessGroupLimits {
  /** Seconds that the group may run, suspended time left out. May only grow. */
  wallTimeSeconds?: number;
  /** CPU seconds that all ranks together may use. */
  cpuTimeSeconds?: number;
  /** Memory that the ranks of one sandbox together may use. */
  memory?: number | string;
  /** Signal that every rank gets before the wall time ends. Absent, SIGUSR1 where warningSeconds is given. */
  warningSignal?: 'SIGHUP' | 'SIGINT' | 'SIGQUIT' | 'SIGUSR1' | 'SIGUSR2' | 'SIGALRM' | 'SIGTERM' | 'SIGURG' | 'SIGXCPU' | 'SIGWINCH';
  /** How long before the end of the wall time the warning is sent. */
  warningSeconds?: number;
}

/** One group to wait for. */
export interface ProcessGroupDependency {
  /** Name of a ProcessGroup in the same namespace. */
  name: string;
  /** What it must have reached; Finished is Succeeded or Failed. */
  until?: 'Running' | 'Succeeded' | 'Finished';
}

/** What Muster sees. Written by its controllers only. */
export interface ProcessGroupStatus {
  /** Generation of the spec that this status speaks of. */
  observedGeneration?: number;
  /** One word for people, derived from the conditions. Programs read the conditions. */
  phase?: 'Pending' | 'Placing' | 'Starting' | 'Running' | 'Suspending' | 'Suspended' | 'Resuming' | 'Restarting' | 'Stopping' | 'Succeeded' | 'Failed' | 'Stalled';
  /** The phases that the group was in, oldest first; of many the first three and the latest. */
  phases?: ProcessGroupPhases[];
  /** Placed, Running, Suspended (reason Frozen or Vacated), Succeeded, Failed, Reconciling and Stalled. */
  conditions?: Condition[];
  /** What keeps the group from running beside spec.suspend. */
  holds?: ProcessGroupHold[];
  /** How many ranks stand where. */
  ranks?: ProcessGroupRanks;
  /** Nodes that hold ranks of the group. */
  nodeCount?: number;
  /** Where the sandboxes are, in the order of their ordinals. Neighbours whose ranks are alike but for a shift share one entry. */
  placement?: ProcessGroupStatusPlacement[];
  /** When the first launch was ordered. From then on placement and resources are fixed unless the group is vacated. */
  startTime?: string;
  /** When all ranks ran for the first time. */
  runningTime?: string;
  /** When the group succeeded or failed. */
  finishTime?: string;
  /** Since when wall time is being counted. Absent while suspended. */
  activeSince?: string;
  /** Wall time counted before activeSince. */
  activeSeconds?: number;
  /** How the group ended; of a failed one, the first failing rank. */
  exitSummary?: ProcessGroupExitSummary;
  /** What the group has used so far, earlier runs (before a restart or a suspension that gave nodes back) included. */
  usage?: ProcessGroupUsage;
  /** The latest restorable checkpoint. Also in the annotation muster.dev/last-checkpoint, for schedulers that choose victims. */
  lastCheckpoint?: ProcessGroupLastCheckpoint;
  /** The highest incarnation of its sandboxes before it gave back its nodes; absent while it never did. */
  incarnation?: number;
  /** The checkpoint that the group goes on from, or will when it is resumed. Absent, it began at its beginning. */
  restore?: ProcessGroupRestore;
  /** The Migration that is at work on the group. Where its ranks are changes by one write that also ends this, or says where their pages still are. */
  migration?: ProcessGroupMigration;
  /** The lease under which its ranks run since they were placed, since they may be started elsewhere. A node that hears of no controller for so long stops them, and for a quarter longer kills them. */
  nodeLeaseSeconds?: number;
  /** How often the whole group was started again. */
  restarts?: number;
  /** The network of a group whose network is Isolated, which no other group has while this one runs. */
  network?: ProcessGroupNetwork;
  /** Choices that the cluster made where the spec left them open. Fixed for the life of the group. */
  resolved?: ProcessGroupResolved;
}

/** One phase. */
export interface ProcessGroupPhases {
  /** Which phase. */
  phase: 'Pending' | 'Placing' | 'Starting' | 'Running' | 'Suspending' | 'Suspended' | 'Resuming' | 'Restarting' | 'Stopping' | 'Succeeded' | 'Failed' | 'Stalled';
  /** When it began. */
  since: string;
}

/** One hold. */
export interface ProcessGroupHold {
  /** Who holds. */
  name: 'Drain' | 'Queue' | 'Health' | 'Fence';
  /** Why, in one word. */
  reason: string;
  /** Why, for people. */
  message?: string;
  /** Nodes whose drain holds the group, as a node list such as "node[1-4]". */
  nodes?: string;
  /** Since when. */
  since?: string;
  /** When what could not be done for it is tried again. */
  retryTime?: string;
}

/** How many ranks stand where. */
export interface ProcessGroupRanks {
  /** Ranks that the group is to have. */
  desired?: number;
  /** Ranks that were started and have not ended, frozen ones too. */
  running?: number;
  /** Ranks that exited with 0. */
  succeeded?: number;
  /** Ranks that exited with another code or by a signal. */
  failed?: number;
  /** Ranks that could not be started. */
  startFailed?: number;
  /** Two of these numbers for printing, such as 4/4. */
  summary?: string;
}

/** One sandbox, or several with consecutive ordinals. */
export interface ProcessGroupStatusPlacement {
  /** Ordinal of the first sandbox. */
  ordinal: number;
  /** Node of each sandbox, as a node list such as "node[1-4],big1"; its length is the number of sandboxes. */
  nodes: string;
  /** Incarnation of these sandboxes but for those in raised. Every restore or move raises it. */
  incarnation: number;
  /** Sandboxes of this entry with a higher incarnation. */
  raised?: ProcessGroupStatusPlacementRaised[];
  /** Ranks of the first sandbox, as a rank set such as "0-3" or "0-30:2". */
  ranks: string;
  /** What each further sandbox's ranks are shifted by. Absent where there is one sandbox. */
  rankStep?: number;
}

/** Sandboxes of one incarnation. */
export interface ProcessGroupStatusPlacementRaised {
  /** Their ordinals, as a rank set such as "3,7". */
  ordinals: string;
  /** Their incarnation. */
  incarnation: number;
}

/** How the group ended; of a failed one, the first failing rank. */
export interface ProcessGroupExitSummary {
  /** The rank. */
  rank?: number;
  /** Its entry in processes. */
  processName?: string;
  /** Its exit code. Absent when a signal ended it or it could not be started. */
  code?: number;
  /** Signal that ended it, such as SIGSEGV. */
  signal?: string;
  /** Node it ran on. */
  node?: string;
  /** Why, in one word, such as RankFailed, RankSignaled, StartFailed or WallTimeExceeded. */
  reason?: string;
  /** Why, for people. */
  message?: string;
  /** How many ranks ended in which way, the most frequent first. */
  exitCodes?: ProcessGroupExitSummaryExitCount[];
}

/** One way to end. */
export interface ProcessGroupExitSummaryExitCount {
  /** Exit code. */
  code?: number;
  /** Signal, where there is no code. */
  signal?: string;
  /** Ranks that ended so. */
  count: number;
  /** Those ranks as a rank set, cut off with a final "," where it grows long. */
  ranks?: string;
}

/** What the group has used so far, earlier runs (before a restart or a suspension that gave nodes back) included. */
export interface ProcessGroupUsage {
  /** CPU time of all ranks. */
  cpuSeconds?: number;
  /** Of it, in programs. */
  userSeconds?: number;
  /** Of it, in the kernel. */
  systemSeconds?: number;
  /** CPU time of this run in percent of one core a rank for as long as it was not suspended. Low means ranks that wait; more than 100, threads. */
  efficiencyPercent?: number;
  /** Memory of all sandboxes as measured last. */
  memoryBytes?: number;
  /** Sum of the largest memory of each sandbox. */
  peakMemoryBytes?: number;
  /** Bytes that ranks read from disks. */
  readBytes?: number;
  /** Bytes that ranks wrote to disks. */
  writtenBytes?: number;
  /** Largest memory of any sandbox. */
  maxMemoryBytes?: number;
  /** Bytes of output collected from all ranks. */
  stdoutBytes?: number;
  /** What of the totals is of earlier runs. */
  earlier?: ProcessGroupUsageEarlier;
  /** What of the totals sandboxes of this run used before they were moved, as far as it was on record then. */
  moved?: ProcessGroupUsageMoved;
}

/** What of the totals is of earlier runs. */
export interface ProcessGroupUsageEarlier {
  /** CPU time. */
  cpuSeconds?: number;
  /** In programs. */
  userSeconds?: number;
  /** In the kernel. */
  systemSeconds?: number;
  /** Read from disks. */
  readBytes?: number;
  /** Written to disks. */
  writtenBytes?: number;
}

/** What of the totals sandboxes of this run used before they were moved, as far as it was on record then. */
export interface ProcessGroupUsageMoved {
  /** Incarnations of all sandboxes together, by which it is known that some were moved. */
  incarnations?: number;
  /** CPU time. */
  cpuSeconds?: number;
  /** In programs. */
  userSeconds?: number;
  /** In the kernel. */
  systemSeconds?: number;
  /** Read from disks. */
  readBytes?: number;
  /** Written to disks. */
  writtenBytes?: number;
}

/** The latest restorable checkpoint. Also in the annotation muster.dev/last-checkpoint, for schedulers that choose victims. */
export interface ProcessGroupLastCheckpoint {
  /** Name of the Checkpoint. */
  name?: string;
  /** When its cut was taken. */
  time?: string;
  /** Whether it survives the loss of any one node. */
  durable?: boolean;
  /** Size of its images, as a quantity. */
  imageSize?: string;
}

/** The checkpoint that the group goes on from, or will when it is resumed. Absent, it began at its beginning. */
export interface ProcessGroupRestore {
  /** Name of the Checkpoint. */
  checkpointName: string;
  /** Its UID, since names come back. */
  checkpointUid: string;
  /** Digest of its image manifest. */
  manifestDigest: string;
  /** Nodes that could not bring a sandbox back; none is tried twice. */
  failures?: ProcessGroupRestoreFailures[];
}

/** One try. */
export interface ProcessGroupRestoreFailures {
  /** Name of the node. */
  node: string;
  /** Ordinal of the sandbox. */
  ordinal: number;
  /** What stood in the way, for people. */
  message: string;
}

/** The Migration that is at work on the group. Where its ranks are changes by one write that also ends this, or says where their pages still are. */
export interface ProcessGroupMigration {
  /** Name of the Migration. */
  name: string;
  /** Its UID, since names come back. */
  uid: string;
  /** Sandboxes that run where they are placed, and have memory that is still where they left. */
  pages?: ProcessGroupMigrationPages[];
}

/** One sandbox. */
export interface ProcessGroupMigrationPages {
  /** Its ordinal. */
  ordinal: number;
  /** Node where its pages are. */
  node: string;
}

/** The network of a group whose network is Isolated, which no other group has while this one runs. */
export interface ProcessGroupNetwork {
  /** Its addresses, as ADDRESS/LENGTH. The first is the gateway, the next that of sandbox 0. */
  subnet: string;
  /** Number of the network in the tunnels between nodes (VXLAN). */
  vni: number;
  /** Its addresses by IPv6, as ADDRESS/64; that of a sandbox ends with its IPv4 address. Absent, there are none. */
  subnet6?: string;
  /** What encrypts the tunnels between nodes. Absent, nothing does. */
  encryption?: 'WireGuard';
}

/** Choices that the cluster made where the spec left them open. Fixed for the life of the group. */
export interface ProcessGroupResolved {
  /** The network in force. */
  network?: 'Isolated' | 'Host';
  /** The suspend policy in force. */
  suspendPolicy?: 'Freeze' | 'Checkpoint' | 'Stop';
  /** The process management interface in force. */
  pmi?: 'PMI1' | 'PMI2' | 'PMIx' | 'None';
  /** User id of the ranks. */
  runAsUser?: number;
  /** Group id of the ranks. */
  runAsGroup?: number;
}

/** A parallel job. Its ranks are started together, watched, suspended, checkpointed, moved and ended together. */
export interface ProcessGroup extends KubernetesObject<'ProcessGroup'> {
  spec: ProcessGroupSpec;
  status?: ProcessGroupStatus;
}

/** What is wanted. Immutable. */
export interface CheckpointSpec {
  /** Name of the ProcessGroup in the same namespace. */
  processGroupName: string;
  /** What the group does after its images were taken; Stop ends it only once they are safe and checked. */
  then?: 'Continue' | 'Stop';
  /** Storage, by the name an administrator gave it. Absent, the group's, else the cluster's default. */
  storage?: string;
  /** Nodes or stores that hold each image. Absent, as the storage says. */
  copies?: number;
  /** Seconds after which the attempt is given up and the group goes on as if nothing had been asked. */
  deadlineSeconds?: number;
  /** Whether the images are deleted with this object. */
  deletionPolicy?: 'Delete' | 'Retain';
}

/** What Muster sees. Written by its controllers only. */
export interface CheckpointStatus {
  /** Generation of the spec that this status speaks of. */
  observedGeneration?: number;
  /** One word for people, derived from the conditions. Programs read the conditions. */
  phase?: 'Pending' | 'Preparing' | 'Dumping' | 'Saving' | 'Ready' | 'Durable' | 'Deleting' | 'Failed';
  /** Ready (restorable while its nodes live), Durable (survives the loss of any one node), Failed, Reconciling and Stalled. */
  conditions?: Condition[];
  /** Where the protocol stands. Controllers go on from it. */
  step?: 'Waiting' | 'Preparing' | 'Dumping' | 'Committing' | 'Saving' | 'Ready' | 'Aborting' | 'Failed';
  /** UID of the group that the images are of. */
  processGroupUid?: string;
  /** User who made the group, and may restore it. */
  owner?: string;
  /** Ranks in the images. */
  size?: number;
  /** Where the sandboxes were at the cut, in the order of their ordinals. Neighbours whose ranks are alike but for a shift share one entry. */
  placement?: CheckpointStatusPlacement[];
  /** The job network at the cut, whose addresses a restore needs again. Absent with network Host. */
  network?: CheckpointNetwork;
  /** Spec of the group at the cut, as JSON; a restore takes what it does not say itself from here. */
  processGroupSpec?: string;
  /** Storage in use. */
  storage?: string;
  /** What took the images, with its version. */
  engine?: string;
  /** Digest of the image manifest, which a restore checks before anything else. */
  manifestDigest?: string;
  /** Bytes of all images. */
  imageBytes?: number;
  /** The same as a quantity, for printing. */
  imageSize?: string;
  /** Nodes that hold images, as a node list such as "node[1-4]". Absent where the storage is outside of the nodes. */
  nodes?: string;
  /** Nodes that held images and are lost. What they still have is removed when they come back after this object was deleted. */
  lostNodes?: string;
  /** Nodes that could bring back each of its sandboxes when it became ready, by their engine, network and processors. */
  candidateNodes?: number;
  /** Smallest number of copies that any image has now. */
  copies?: number;
  /** How far it has come. */
  progress?: CheckpointProgress;
  /** When work on it began. */
  startTime?: string;
  /** The moment that a restore goes back to. */
  cutTime?: string;
  /** When it became ready or failed. */
  finishTime?: string;
  /** How long the ranks stood still. */
  downtimeMilliseconds?: number;
}

/** One sandbox, or several with consecutive ordinals. */
export interface CheckpointStatusPlacement {
  /** Ordinal of the first sandbox. */
  ordinal: number;
  /** Node of each sandbox, as a node list such as "node[1-4],big1"; its length is the number of sandboxes. */
  nodes: string;
  /** Incarnation of these sandboxes but for those in raised. Every restore or move raises it. */
  incarnation: number;
  /** Sandboxes of this entry with a higher incarnation. */
  raised?: CheckpointStatusPlacementRaised[];
  /** Ranks of the first sandbox, as a rank set such as "0-3" or "0-30:2". */
  ranks: string;
  /** What each further sandbox's ranks are shifted by. Absent where there is one sandbox. */
  rankStep?: number;
}

/** Sandboxes of one incarnation. */
export interface CheckpointStatusPlacementRaised {
  /** Their ordinals, as a rank set such as "3,7". */
  ordinals: string;
  /** Their incarnation. */
  incarnation: number;
}

/** The job network at the cut, whose addresses a restore needs again. Absent with network Host. */
export interface CheckpointNetwork {
  /** Addresses of the sandboxes, ADDRESS/LENGTH. */
  subnet: string;
  /** Number of the network. */
  vni: number;
}

/** How far it has come. */
export interface CheckpointProgress {
  /** Sandboxes to dump. */
  sandboxes?: number;
  /** Sandboxes dumped. */
  dumped?: number;
  /** Sandboxes whose images are where the storage wants them. */
  saved?: number;
  /** Bytes written so far. */
  bytesWritten?: number;
}

/** A checkpoint of a ProcessGroup. It is not owned by the group and outlives it. */
export interface Checkpoint extends KubernetesObject<'Checkpoint'> {
  spec: CheckpointSpec;
  status?: CheckpointStatus;
}

/** What is wanted. Immutable. */
export interface MigrationSpec {
  /** Name of the ProcessGroup in the same namespace. */
  processGroupName: string;
  /** Node to leave. With ranks, only their sandboxes on it. */
  from?: string;
  /** Node to go to. Absent, placement chooses. */
  to?: string;
  /** Ranks to move, as a rank set. They must be whole sandboxes, else the migration is refused and names the boundaries. Absent, all on from. */
  ranks?: string;
  /** How memory is moved; StopAndCopy while the ranks stand still, PreCopy most of it before, PostCopy most of it after. */
  strategy?: 'Auto' | 'StopAndCopy' | 'PreCopy' | 'PostCopy';
  /** Whether files that the ranks have open on the source's own disks go along. Otherwise such files refuse the migration. */
  copyFiles?: boolean;
  /** Seconds after which the attempt is given up and the ranks go on where they were. */
  deadlineSeconds?: number;
  /** Seconds after which the finished object is deleted. Absent, never. */
  ttlSecondsAfterFinished?: number;
}

/** What Muster sees. Written by its controllers only. */
export interface MigrationStatus {
  /** Generation of the spec that this status speaks of. */
  observedGeneration?: number;
  /** One word for people, derived from the conditions. Programs read the conditions. */
  phase?: 'Pending' | 'Preparing' | 'Copying' | 'Switching' | 'Following' | 'Completed' | 'Aborting' | 'Failed';
  /** Completed (reason NothingToDo too), Failed, Reconciling and Stalled. */
  conditions?: Condition[];
  /** UID of the group whose ranks move, since names come back. */
  processGroupUid?: string;
  /** Strategy in use. */
  strategy?: 'StopAndCopy' | 'PreCopy' | 'PostCopy';
  /** Nodes that ranks leave, as a node list. */
  source?: string;
  /** Nodes that they go to, as a node list. */
  target?: string;
  /** Ranks that move, as a rank set. */
  ranks?: string;
  /** The sandboxes that move. */
  moves?: MigrationMove[];
  /** Bytes sent for all. */
  transferredBytes?: number;
  /** Longest time that any rank stood still. */
  downtimeMilliseconds?: number;
  /** When work on it began. */
  startTime?: string;
  /** When it completed or failed. */
  finishTime?: string;
}

/** One sandbox. */
export interface MigrationMove {
  /** Its ordinal. */
  ordinal: number;
  /** Node that it leaves. */
  from: string;
  /** Node that it goes to. */
  to?: string;
  /** Its incarnation on the new node. */
  incarnation?: number;
  /** How far it has come. */
  state?: 'Pending' | 'Copying' | 'Switching' | 'Following' | 'Completed' | 'Failed';
  /** When its ranks were stopped, RFC 3339 with milliseconds. */
  frozenTime?: string;
  /** Bytes sent for it. */
  bytes?: number;
  /** How long its ranks stood still. */
  downtimeMilliseconds?: number;
  /** Memory of its ranks that is still where they left, of PostCopy. */
  pagesLeftBytes?: number;
}

/** A move of whole sandboxes of a ProcessGroup to other nodes. */
export interface Migration extends KubernetesObject<'Migration'> {
  spec: MigrationSpec;
  status?: MigrationStatus;
}

/** How the node is to be treated. Written by administrators. */
export interface NodeMonitorSpec {
  /** Seconds between two measurements of load and health. Heartbeats have a rhythm of their own. */
  intervalSeconds?: number;
  /** Whether nothing new is to be placed on the node. On Kubernetes a cordoned Node counts as well. */
  cordon?: boolean;
  /** Whether the node is to be emptied. */
  drain?: NodeMonitorDrain;
  /** Health checks to run, by the names of programs in the administrator's directory on the node. */
  healthChecks?: NodeMonitorHealthCheck[];
  /** For workstations that belong to somebody; when groups give way to the owner. */
  ownerReclaim?: NodeMonitorOwnerReclaim;
}

/** Whether the node is to be emptied. */
export interface NodeMonitorDrain {
  /** Whether every group is to leave the node. Implies cordon. */
  enabled?: boolean;
  /** How they leave; Migrate while they run, Checkpoint and go on elsewhere, Suspend by a checkpoint until the drain is taken back, or Kill. */
  policy?: 'Migrate' | 'Checkpoint' | 'Suspend' | 'Kill';
}

/** One check. */
export interface NodeMonitorHealthCheck {
  /** Name of the program, without a path. */
  name: string;
  /** Seconds between two runs. */
  intervalSeconds?: number;
  /** Seconds after which a run counts as failed. */
  timeoutSeconds?: number;
  /** Failed runs in a row that make the node unhealthy. */
  failureThreshold?: number;
  /** What is done then. */
  action?: 'Report' | 'Cordon' | 'Drain';
}

/** For workstations that belong to somebody; when groups give way to the owner. */
export interface NodeMonitorOwnerReclaim {
  /** Seconds without input at terminals and console after which the node may be used; input ends that. */
  idleSeconds?: number;
  /** Load, of processes that are not Muster's, above which the owner counts as back. */
  maxLoad?: number;
  /** How groups give way. */
  policy?: 'Migrate' | 'Checkpoint' | 'Suspend' | 'Kill';
}

/** What the node's agent reports, and conditions by the controllers. Heartbeats are leases and not here. */
export interface NodeMonitorStatus {
  /** Generation of the spec that this status speaks of. */
  observedGeneration?: number;
  /** One word for people, derived from the conditions. Programs read the conditions. */
  phase?: 'Pending' | 'Ready' | 'NotReady' | 'Cordoned' | 'Draining' | 'Drained' | 'Unhealthy';
  /** Ready, Healthy, Draining, Drained, Reclaimed, MemoryPressure, DiskPressure, Reconciling and Stalled. */
  conditions?: Condition[];
  /** Whether nothing new is placed on the node, for whatever reason. */
  cordoned?: boolean;
  /** What the node is. */
  node?: NodeMonitorNode;
  /** What the node can do, such as Criu or VxLan; what it cannot, its agent logs with the reason. */
  features?: string[];
  /** Processor features as the kernel names them, which a restore compares. */
  cpuFeatures?: string;
  /** What the node has, by resource name. */
  capacity?: Record<string, number | string>;
  /** What groups may use of it. */
  allocatable?: Record<string, number | string>;
  /** Processors, for binding. */
  topology?: NodeMonitorTopology;
  /** What the processors did at the last measurement, in percent of the time of all of them. */
  cpu?: NodeMonitorCpu;
  /** The node's clock against that of the controllers. */
  clock?: NodeMonitorClock;
  /** Load averages. */
  load?: NodeMonitorLoad;
  /** Memory. */
  memory?: NodeMonitorMemory;
  /** Share of the last ten seconds in which something waited, in percent (the kernel's pressure stall information). */
  pressure?: NodeMonitorPressure;
  /** File systems that Muster uses. */
  disks?: NodeMonitorDisk[];
  /** Network interfaces. */
  networks?: NodeMonitorNetwork[];
  /** Temperatures, power and accelerators, where the kernel or a vendor's tool shows them. */
  sensors?: NodeMonitorSensors[];
  /** Device sets that the node's configuration offers to resources.devices. */
  devices?: string[];
  /** What runs on the node. */
  sandboxes?: NodeMonitorSandboxes;
  /** Latest results of the health checks, of those in spec and of the agent's own. */
  checks?: NodeMonitorCheck[];
}

/** What the node is. */
export interface NodeMonitorNode {
  /** Host and port that other agents reach this one at. */
  address?: string;
  /** Its own host name. */
  hostName?: string;
  /** Version of the agent. */
  agentVersion?: string;
  /** Version of the agents' protocol that it speaks. */
  protocolVersion?: number;
  /** Identity of the running kernel. */
  bootId?: string;
  /** Identity of the machine. */
  machineId?: string;
  /** Version of the kernel. */
  kernel?: string;
  /** Name of the operating system. */
  osImage?: string;
  /** Processor architecture, such as x64. */
  architecture?: string;
  /** Whether the agent runs as root, and so has the means for everything. */
  privileged?: boolean;
}

/** Processors, for binding. */
export interface NodeMonitorTopology {
  /** Sockets. */
  sockets?: number;
  /** Memory nodes. */
  numaNodes?: number;
  /** Cores. */
  cores?: number;
  /** Hardware threads. */
  threads?: number;
  /** Hardware threads of each core, as a rank set such as "0,64", cores of one socket together. */
  coreSets?: string[];
  /** Hardware threads of each socket, as a rank set. */
  socketSets?: string[];
}

/** What the processors did at the last measurement, in percent of the time of all of them. */
export interface NodeMonitorCpu {
  /** At work, or taken by the hypervisor. */
  busy?: number;
  /** Idle, with something that waits for a disk. */
  iowait?: number;
  /** Taken by the hypervisor. */
  steal?: number;
}

/** The node's clock against that of the controllers. */
export interface NodeMonitorClock {
  /** How far it is ahead; less than 0 means behind. */
  offsetMilliseconds?: number;
}

/** Load averages. */
export interface NodeMonitorLoad {
  /** Of one minute. */
  one?: number;
  /** Of five minutes. */
  five?: number;
  /** Of fifteen minutes. */
  fifteen?: number;
}

/** Memory. */
export interface NodeMonitorMemory {
  /** All of it. */
  totalBytes?: number;
  /** What can be had without swapping. */
  availableBytes?: number;
  /** Swap in use. */
  swapUsedBytes?: number;
}

/** Share of the last ten seconds in which something waited, in percent (the kernel's pressure stall information). */
export interface NodeMonitorPressure {
  /** For a processor. */
  cpu?: number;
  /** For memory. */
  memory?: number;
  /** For input and output. */
  io?: number;
}

/** One file system. */
export interface NodeMonitorDisk {
  /** Where it is mounted. */
  path: string;
  /** Its size. */
  totalBytes?: number;
  /** What is free. */
  availableBytes?: number;
  /** Whether nothing can be written there. */
  readOnly?: boolean;
  /** Why its figures could not be had, such as a server that does not answer; absent when they could. */
  trouble?: string;
}

/** One interface. */
export interface NodeMonitorNetwork {
  /** Its name. */
  name: string;
  /** Its speed, in Mbit/s. */
  speedMbit?: number;
  /** What it receives. */
  receivedBytesPerSecond?: number;
  /** What it sends. */
  sentBytesPerSecond?: number;
  /** Errors since it is up, both ways. */
  errors?: number;
  /** Packets dropped since it is up, both ways. */
  drops?: number;
}

/** One figure. */
export interface NodeMonitorSensors {
  /** Which sensor. */
  name: string;
  /** Celsius, Watt, Percent or MiB. */
  unit?: string;
  /** What it shows. */
  value: number;
}

/** What runs on the node. */
export interface NodeMonitorSandboxes {
  /** Sandboxes, without those that have ended. */
  count?: number;
  /** Ranks in them. */
  ranks?: number;
  /** Sandboxes that stand still. */
  frozen?: number;
}

/** One result. */
export interface NodeMonitorCheck {
  /** Name of the check. */
  name: string;
  /** Whether it passed, as failureThreshold has it. */
  passed: boolean;
  /** Whether it is one of the agent's own. */
  builtIn?: boolean;
  /** Failed runs in a row. */
  failures?: number;
  /** First line of what it said. */
  message?: string;
  /** When the result last changed. */
  time?: string;
}

/** A node, by its own name. Made when its agent registers. */
export interface NodeMonitor extends KubernetesObject<'NodeMonitor'> {
  spec: NodeMonitorSpec;
  status?: NodeMonitorStatus;
}
