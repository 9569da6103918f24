/**
 * An agent of the survival test: adopts a running sandbox, starts its one rank (again), answers the rank's requests by order
 * number, and is killed by the test at some moment. `node agent-that-dies.ts PID ANSWERS SCRIPT`
 */
import { native } from '../../native/addon/index.ts';
import { message, Sandbox } from './sandbox.ts';

const [pid, count, script] = process.argv.slice(2);
const sandbox = new Sandbox(Number(pid), 64);
const { words } = await sandbox.start([{ argv: ['sh', '-c', script!], pmi: true, rank: 0, startId: 1 }]);
const slot = words[0]!;
process.stdout.write('adopted\n');

const { fdPmi } = sandbox.slot(slot);
const requests = native().pmiPoller();
const event = sandbox.take(13);
let seen = Number(sandbox.slot(slot).pmiOrders);
let pending = '';

function send(order: number): void {
  const note = `${order};`;
  const reply = `answer ${order}\n`;
  const head = Buffer.alloc(24);
  head.writeUInt32LE(slot, 0);
  head.writeUInt32LE(`req ${order}\n`.length, 4);
  head.writeBigUInt64LE(BigInt(order), 8);
  head.writeUInt32LE(reply.length, 16);
  head.writeUInt32LE(note.length, 20);
  const whole = Buffer.concat([head, Buffer.from(reply + note)]);
  const padded = Buffer.concat([whole, Buffer.alloc((8 - (whole.length % 8)) % 8)]);
  // Twice: the second one must do nothing.
  sandbox.send(message.answer, padded);
  sandbox.send(message.answer, padded);
}

requests.onData = (records) => {
  const length = records.readUInt32LE(4);
  if (length === 0xffffffff) process.exit(0);
  pending += records.subarray(8, 8 + length).toString();
  for (let end; (end = pending.indexOf('\n')) >= 0; pending = pending.slice(end + 1)) {
    const order = Number(pending.slice(4, end));
    if (order > seen) send((seen = order));
  }
};
requests.add(0, sandbox.take(fdPmi));
native().watch(event, () => {
  native().eventfdRead(event);
  if (sandbox.slot(slot).pmiOrders === BigInt(count!)) process.exit(0);
});
