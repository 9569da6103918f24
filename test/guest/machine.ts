/**
 * A virtual machine with a kernel and control groups that are not this machine's: emulated, with one processor, all in memory. What
 * scripts/guest.sh made is all that it has. Commands go to a shell of root in it, over a console; its network is a way out to this
 * machine's loopback device, which it has as hub.muster. It knows where Muster lies in it and nothing of what Muster does.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';

export type ControlGroups = 'v1' | 'v2';

interface Answer {
  readonly code: number;
  readonly output: string;
}

const megabytes = 1024;

export class Machine implements AsyncDisposable {
  readonly #directory = mkdtempSync('/var/tmp/muster-guest-');
  readonly #process: ChildProcess;
  readonly #ended: Promise<void>;
  #said = '';
  #trouble = '';
  #heard = (): void => undefined;
  #last: Promise<unknown> = Promise.resolve();
  #commands = 0;

  /** Comes back once its shell answers. `files`: the directory that scripts/guest.sh prints. */
  static async boot(files: string, cgroups: ControlGroups): Promise<Machine> {
    const machine = new Machine(files, cgroups);
    try {
      await machine.#until(/^ready\n/);
      return machine;
    } catch (error) {
      await machine[Symbol.asyncDispose]();
      throw error;
    }
  }

  private constructor(files: string, cgroups: ControlGroups) {
    // No cx16, la57 and the like: with all that QEMU 7.2 can emulate, a kernel was seen to panic over its lists of free memory.
    const words = `-accel tcg -cpu Nehalem,-cx16 -smp 1 -m ${megabytes} -nodefaults -no-user-config -no-reboot -display none
      -kernel ${join(files, 'kernel')} -initrd ${join(files, 'initial')}
      -serial file:${this.#kernelLog} -device virtio-serial -chardev stdio,id=shell,signal=off -device virtconsole,chardev=shell
      -netdev user,id=network,ipv6=off -device virtio-net,netdev=network,romfile= -device virtio-rng-pci`;
    const command = `console=ttyS0 loglevel=4 panic=-1 no_timer_check mitigations=off muster.cgroups=${cgroups}`;
    // Killed with this process, whatever that ends by.
    const argv = ['--pdeathsig', 'KILL', 'qemu-system-x86_64', ...words.split(/\s+/), '-append', command];
    this.#process = spawn('setpriv', argv, {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#process.stdin?.on('error', () => undefined);
    this.#process.stderr?.on('data', (bytes: Buffer) => (this.#trouble += bytes.toString()));
    this.#process.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#said += text;
      this.#heard();
    });
    this.#ended = new Promise((resolve) => {
      const end = (error?: Error): void => {
        if (error instanceof Error) this.#trouble += error.message;
        resolve();
        this.#heard();
      };
      this.#process.once('error', end);
      this.#process.once('exit', () => end());
    });
  }

  get #kernelLog(): string {
    return join(this.#directory, 'kernel.log');
  }

  /** Standard output of a shell's lines, which must succeed. */
  async sh(script: string): Promise<string> {
    const { code, output } = await this.try(script);
    if (code !== 0) throw new Error(`in the virtual machine: ${script}: status ${code}: ${output}`);
    return output;
  }

  /** One at a time. What goes on in the background must not write to the console. */
  async try(script: string): Promise<Answer> {
    const answer = this.#last.then(
      () => this.#ask(script),
      () => this.#ask(script),
    );
    this.#last = answer;
    return answer;
  }

  async #ask(script: string): Promise<Answer> {
    const mark = `--- ${++this.#commands}`;
    this.#process.stdin?.write(`{ ${script}\n} </dev/null 2>&1; echo "${mark} $?"\n`);
    const [, output = '', code] = await this.#until(new RegExp(`^([^]*?)${mark} (\\d+)\n`));
    return { code: Number(code), output };
  }

  /** Until it has said this, which is heard then. */
  async #until(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const found = pattern.exec(this.#said);
      if (found) {
        this.#said = this.#said.slice(found[0].length);
        return found;
      }
      if (this.#isOver)
        throw new Error(`the virtual machine ended: ${this.#trouble}${this.#said}${this.kernelSaid()}`);
      await new Promise<void>((resolve) => (this.#heard = resolve));
    }
  }

  get #isOver(): boolean {
    return (
      this.#process.pid === undefined || this.#process.exitCode !== null || this.#process.signalCode !== null
    );
  }

  kernelSaid(): string {
    try {
      return readFileSync(this.#kernelLog, 'utf8').slice(-4000);
    } catch {
      return '';
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#isOver) this.#process.kill('SIGKILL');
    await this.#ended;
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
