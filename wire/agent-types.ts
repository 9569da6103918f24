// The messages of agent.proto as TypeScript sees them after decoding: every field is there (its default when it was not
// sent), a message that was not sent is null, a oneof names its member in `body`. u64 are numbers: exact below 2^53,
// so offsets and sizes are exact and nanoseconds since the epoch are good to a quarter of a microsecond.
// For sending any field may be left out: `Sent<T>`. load.test.ts compares this file with the .proto.

/** What may be given to a stream's write: fields left out take their default. */
export type Sent<T> = T extends Buffer
  ? Uint8Array
  : T extends readonly (infer E)[]
    ? readonly Sent<E>[]
    : T extends object
      ? { [K in keyof T]?: Sent<T[K]> | undefined }
      : T;

export interface SandboxId {
  groupUid: string;
  ordinal: number;
  incarnation: number;
}

export interface AgentMessage {
  body: 'hello' | 'heartbeat' | 'facts' | 'verbReply' | 'event' | 'goodbye' | 'report' | 'answer';
  hello?: AgentHello;
  heartbeat?: Heartbeat;
  facts?: Facts;
  verbReply?: VerbReply;
  event?: AgentEvent;
  goodbye?: Goodbye;
  report?: NodeReport;
  answer?: Answer;
}

export interface AgentHello {
  versionMin: number;
  versionMax: number;
  node: string;
  instance: string;
  bootId: string;
  build: string;
  capacity: Capacity | null;
  peerAddress: string;
  localSocket: string;
  labels: Record<string, string>;
  features: string[];
  missing: string[];
  clockNs: number;
  underlayMtu: number;
  networkKey: string;
  routes: string[];
  cpuFeatures: string[];
}

export interface Capacity {
  cpus: number;
  memoryBytes: number;
  sockets: number;
  cores: number;
  architecture: string;
  kernel: string;
  os: string;
  topologyXmlDigest: string;
}

export interface Heartbeat {
  sequence: number;
  load: Load | null;
  clockNs: number;
}

export interface Load {
  load1: number;
  load5: number;
  load15: number;
  memoryAvailableBytes: number;
  swapUsedBytes: number;
  cpuPressureAvg10: number;
  memoryPressureAvg10: number;
  ioPressureAvg10: number;
  diskFreeBytes: number;
  diskTotalBytes: number;
  sandboxes: number;
  ranks: number;
}

export interface Facts {
  full: boolean;
  sandboxes: SandboxFact[];
  forgotten: SandboxId[];
  desiredRevision: number;
  images: ImageFact[];
}

export interface SandboxFact {
  id: SandboxId | null;
  state: string;
  reason: string;
  message: string;
  ranksTotal: number;
  ranksRunning: number;
  succeeded: string;
  failures: RankEnd[];
  failuresTotal: number;
  abort: Abort | null;
  frozen: boolean;
  startedNs: number;
  ranksStartedNs: number;
  endedNs: number;
  cpuUs: number;
  memoryBytes: number;
  memoryPeakBytes: number;
  oomKills: number;
  logBytes: number;
  logsComplete: boolean;
  pmiInitialized: boolean;
  pmiFinalized: boolean;
  pmiBadLines: number;
  limitExceeded: string;
  bootId: string;
  initPid: number;
  forksRefused: number;
  bindings: string[];
  brokenFence: BrokenFence | null;
  checkpoint: CheckpointFact | null;
  move: MoveFact | null;
  userUs: number;
  systemUs: number;
  readBytes: number;
  writtenBytes: number;
}

export interface MoveFact {
  migrationUid: string;
  state: string;
  reason: string;
  message: string;
  frozenNs: number;
  thawedNs: number;
  bytes: number;
  engineUs: number;
  stillUs: number;
  pagesLeftBytes: number;
  dirtyBytesPerSecond: number;
}

export interface RankEnd {
  rank: number;
  waitStatus: number;
  stage: number;
  error: number;
  message: string;
  endedNs: number;
  byUs: boolean;
  withoutFinalize: boolean;
}

export interface Abort {
  rank: number;
  exitCode: number;
  message: string;
  atNs: number;
}

export interface BrokenFence {
  fence: number;
  rank: number;
  message: string;
  atNs: number;
}

export interface VerbReply {
  verbId: number;
  ok: boolean;
  reached: number;
  message: string;
}

export interface Goodbye {
  message: string;
}

export interface AgentEvent {
  id: SandboxId | null;
  type: string;
  reason: string;
  message: string;
}

export interface HubMessage {
  body:
    | 'welcome'
    | 'desired'
    | 'verb'
    | 'heartbeatAck'
    | 'openStream'
    | 'refused'
    | 'shown'
    | 'monitor'
    | 'query';
  welcome?: Welcome;
  desired?: Desired;
  verb?: Verb;
  heartbeatAck?: HeartbeatAck;
  openStream?: OpenStream;
  refused?: Refused;
  shown?: Shown;
  monitor?: MonitorOrder;
  query?: Query;
}

export interface Welcome {
  version: number;
  clusterId: string;
  heartbeatSeconds: number;
  clockNs: number;
  build: string;
}

export interface Refused {
  code: string;
  message: string;
  leader: string;
}

export interface HeartbeatAck {
  sequence: number;
  leases: SandboxId[];
  clockNs: number;
}

export interface Desired {
  full: boolean;
  sandboxes: SandboxSpec[];
  removed: SandboxId[];
  revision: number;
  images: ImageOrder[];
}

export interface SandboxSpec {
  id: SandboxId | null;
  namespace: string;
  groupName: string;
  want: string;
  graceSeconds: number;
  size: number;
  sandboxes: number;
  ranks: string;
  hostname: string;
  processMapping: string;
  kvsName: string;
  pmi: string;
  programs: Program[];
  uid: number;
  gid: number;
  groups: number[];
  groupsFromNode: boolean;
  umask: number;
  rlimits: Rlimit[];
  environment: string;
  env: EnvVar[];
  stdin: string;
  stdout: string;
  stderr: string;
  stdoutPattern: string;
  stderrPattern: string;
  whenFull: string;
  logQuotaBytes: number;
  tty: boolean;
  memoryLimitBytes: number;
  cpuLimitMilli: number;
  cpuTimeLimitSeconds: number;
  binding: string;
  devices: string[];
  root: string;
  tree: Tree | null;
  abortOnFailure: boolean;
  warningSignal: number;
  owner: string;
  ownerUid: number;
  frontToken: string;
  clusterId: string;
  hosts: string;
  network: JobNetwork | null;
  carrier: Carrier | null;
  checkpoint: CheckpointOrder | null;
  restore: RestoreOrder | null;
  lease: Lease | null;
  move: MoveOrder | null;
  savesItself: boolean;
}

export interface MoveOrder {
  migrationUid: string;
  step: string;
  name: string;
  peerNode: string;
  peerAddress: string;
  incarnation: number;
  neededBytes: number;
  openFiles: string;
  externalConnections: string;
  copyFiles: boolean;
  pagesFollow: boolean;
  pagesAhead: boolean;
  measure: boolean;
}

export interface Lease {
  expiresAfterMs: number;
  endsAfterMs: number;
}

export interface JobNetwork {
  subnet: string;
  vni: number;
  port: number;
  egress: boolean;
  mtu: number;
  members: NetworkMember[];
  encryption: string;
  subnet6: string;
}

export interface Carrier {
  namespace: string;
  pod: string;
  uid: string;
  address: string;
  scratch: string[];
  profile: string;
}

export interface NetworkMember {
  address: string;
  ordinals: string;
  key: string;
}

export interface Program {
  name: string;
  ranks: string;
  argv: string[];
  env: EnvVar[];
  workingDir: string;
  path: string;
  appNumber: number;
  coProcess: boolean;
}

export interface EnvVar {
  name: string;
  value: string;
  rankField: string;
}

export interface Rlimit {
  name: string;
  soft: number;
  hard: number;
}

export interface Tree {
  parent: number;
  parentNode: string;
  parentAddress: string;
  children: TreeChild[];
}

export interface TreeChild {
  ordinal: number;
  node: string;
}

export interface Verb {
  verbId: number;
  id: SandboxId | null;
  kind: string;
  signal: number;
  ranks: string;
  signalId: number;
  rows: number;
  columns: number;
}

export interface OpenStream {
  streamId: number;
  id: SandboxId | null;
  kind: string;
  ranks: string;
  streams: number[];
  from: LogPosition[];
  follow: boolean;
  tailLines: number;
  command: string[];
  tty: boolean;
  stdin: boolean;
  rows: number;
  columns: number;
}

export interface Shown {
  id: SandboxId | null;
  positions: LogPosition[];
}

export interface LogPosition {
  rank: number;
  stream: number;
  offset: number;
}

export interface Chunk {
  streamId: number;
  rank: number;
  stream: number;
  offset: number;
  data: Buffer;
  end: boolean;
  error: string;
  window: number;
  allEnded: boolean;
  begun: boolean;
  rows: number;
  columns: number;
  waitStatus: number;
}

export interface TreeMessage {
  body: 'hello' | 'welcome' | 'contribution' | 'result' | 'failed' | 'nameRequest' | 'nameReply' | 'absent';
  hello?: TreeHello;
  welcome?: TreeWelcome;
  contribution?: FenceContribution;
  result?: FenceResult;
  failed?: FenceFailed;
  nameRequest?: NameRequest;
  nameReply?: NameReply;
  absent?: FenceAbsent;
}

export interface TreeHello {
  id: SandboxId | null;
  parent: number;
  kvsName: string;
  have: number;
  version: number;
}

export interface TreeWelcome {
  need: number;
  version: number;
}

export interface FenceContribution {
  fence: number;
  delta: Buffer;
}

export interface FenceResult {
  fence: number;
  delta: Buffer;
}

export interface FenceFailed {
  fence: number;
  message: string;
}

export interface FenceAbsent {
  fence: number;
}

export interface NameRequest {
  token: number;
  ordinal: number;
  kind: string;
  service: string;
  port: string;
}

export interface NameReply {
  token: number;
  ordinal: number;
  rc: number;
  port: string;
  message: string;
}

export interface CheckpointFact {
  checkpointUid: string;
  state: string;
  reason: string;
  message: string;
  held: boolean;
  frozenNs: number;
  thawedNs: number;
  bytes: number;
  digest: string;
  engine: string;
  dumpUs: number;
}

export interface ImageId {
  checkpointUid: string;
  ordinal: number;
}

export interface ImageFact {
  id: ImageId | null;
  state: string;
  digest: string;
  bytes: number;
  message: string;
  groupUid: string;
  writtenNs: number;
}

export interface CheckpointOrder {
  checkpointUid: string;
  step: string;
  name: string;
  holdAtMostMs: number;
  hold: boolean;
  engine: string;
  openFiles: string;
  externalConnections: string;
  signal: number;
  signalMs: number;
  storage: string;
}

export interface RestoreOrder {
  image: ImageId | null;
  digest: string;
  sources: ImageSource[];
  openFiles: string;
  checkpoint: string;
}

export interface ImageSource {
  node: string;
  address: string;
}

export interface ImageOrder {
  id: ImageId | null;
  want: string;
  digest: string;
  sources: ImageSource[];
}

export interface ImageRequest {
  id: ImageId | null;
  digest: string;
}

export interface LeaverRequest {
  id: SandboxId | null;
  migrationUid: string;
  probe: boolean;
  noLink: boolean;
  files: string[];
  takesWhole: boolean;
}

export interface PagesRequest {
  id: SandboxId | null;
  migrationUid: string;
  pid: number;
  address: number;
  bytes: number;
  link: boolean;
}

export interface PagesChunk {
  pid: number;
  address: number;
  data: Buffer;
  carried: number;
  linkPort: number;
}

export interface ImageChunk {
  file: string;
  offset: number;
  data: Buffer;
  carried: number;
  whole: SmallFile[];
}

export interface SmallFile {
  file: string;
  data: Buffer;
}

export interface MonitorOrder {
  intervalSeconds: number;
  checks: CheckOrder[];
  owner: OwnerRule | null;
}

export interface CheckOrder {
  name: string;
  intervalSeconds: number;
  timeoutSeconds: number;
  failureThreshold: number;
}

export interface OwnerRule {
  idleSeconds: number;
  maxLoad: number;
}

export interface NodeReport {
  figures: NodeFigures | null;
  disks: DiskFigures[];
  networks: NetworkFigures[];
  sensors: Sensor[];
  checks: CheckResult[];
  owner: OwnerFinding | null;
}

export interface NodeFigures {
  busy: number;
  user: number;
  system: number;
  iowait: number;
  steal: number;
  cores: number[];
  load1: number;
  load5: number;
  load15: number;
  memoryTotalBytes: number;
  memoryAvailableBytes: number;
  swapTotalBytes: number;
  swapUsedBytes: number;
  cpuPressureAvg10: number;
  memoryPressureAvg10: number;
  ioPressureAvg10: number;
  readBytesPerSecond: number;
  writtenBytesPerSecond: number;
  processes: number;
  sandboxes: number;
  ranks: number;
  frozen: number;
  clockKnown: boolean;
  clockOffsetMs: number;
}

export interface DiskFigures {
  path: string;
  fileSystem: string;
  totalBytes: number;
  availableBytes: number;
  filesTotal: number;
  filesFree: number;
  readOnly: boolean;
  trouble: string;
}

export interface NetworkFigures {
  name: string;
  speedMbit: number;
  receivedBytesPerSecond: number;
  sentBytesPerSecond: number;
  errors: number;
  drops: number;
}

export interface Sensor {
  name: string;
  unit: string;
  value: number;
}

export interface CheckResult {
  name: string;
  passed: boolean;
  failures: number;
  message: string;
  changedNs: number;
  builtIn: boolean;
}

export interface OwnerFinding {
  active: boolean;
  message: string;
}

export interface Query {
  queryId: number;
  kind: string;
  ids: SandboxId[];
  ranks: string;
}

export interface Answer {
  queryId: number;
  error: string;
  ranks: RankSample[];
  timelines: Timeline[];
}

export interface RankSample {
  id: SandboxId | null;
  rank: number;
  pid: number;
  state: string;
  waitsFor: string;
  userUs: number;
  systemUs: number;
  cores: number;
  memoryBytes: number;
  memoryPeakBytes: number;
  readBytes: number;
  writtenBytes: number;
  processes: number;
  threads: number;
  voluntarySwitches: number;
  involuntarySwitches: number;
  majorFaults: number;
}

export interface Timeline {
  id: SandboxId | null;
  rank: number;
  tiers: Tier[];
}

export interface Tier {
  endNs: number;
  stepMs: number;
  columns: number;
  values: number[];
}
