// The program nft(8), which changes and tells the rules of this machine's packets. One that is to change some is started ahead and
// waits for its words, since its start takes longer than its work. It ends by itself when this process does.
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { Socket } from 'node:net';

/** Beside the launch of a sandbox there is no time for it. */
const spareAfterMs = 50;

export class Nft implements Disposable {
  #spare: ChildProcessWithoutNullStreams | null = null;
  #sparing: NodeJS.Timeout | null = null;
  #isOver = false;

  [Symbol.dispose](): void {
    this.#isOver = true;
    if (this.#sparing) clearTimeout(this.#sparing);
    this.#spare?.stdin.end();
  }

  /** All of it in one transaction, or nothing. */
  async apply(text: string): Promise<void> {
    const spare = this.#spare;
    this.#spare = null;
    if (spare) hold(spare, true);
    this.keepSpare();
    await told(spare ?? changing(), text);
  }

  keepSpare(): void {
    if (this.#isOver) return;
    this.#sparing ??= setTimeout(() => {
      this.#sparing = null;
      if (this.#spare) return;
      const spare = (this.#spare = changing());
      hold(spare, false);
      const forget = (): void => {
        if (this.#spare === spare) this.#spare = null;
      };
      spare.once('exit', forget).once('error', forget);
      spare.stdin.on('error', forget);
    }, spareAfterMs).unref();
  }

  /** What it prints. */
  ask(...args: string[]): Promise<string> {
    return told(spawn('nft', args), '');
  }
}

const changing = (): ChildProcessWithoutNullStreams => spawn('nft', ['-f', '-']);

/** Whether this process goes on for as long as that one does. */
function hold(child: ChildProcessWithoutNullStreams, isHeld: boolean): void {
  for (const end of [child, child.stdin, child.stdout, child.stderr])
    if (end === child || end instanceof Socket) (end as Socket)[isHeld ? 'ref' : 'unref']();
}

function told(child: ChildProcessWithoutNullStreams, input: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let complaint = '';
    let said = '';
    child.stdout.on('data', (data: Buffer) => (said += data.toString('utf8')));
    child.stderr.on('data', (data: Buffer) => (complaint += data.toString('utf8').slice(0, 4096)));
    child.stdin.on('error', () => undefined); // its end tells
    child.on('error', (cause) =>
      reject(new Error('MUSTER_NETWORK_NO_NFT: nft does not start: install nftables', { cause })),
    );
    child.on('close', (code) =>
      code === 0
        ? resolve(said)
        : reject(new Error(`MUSTER_NETWORK_REFUSED: nft: ${complaint.trim() || `status ${String(code)}`}`)),
    );
    child.stdin.end(input);
  });
}
