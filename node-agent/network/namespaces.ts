// Network namespaces for sandboxes, with the settings that ranks find there. One is kept in reserve, which nobody sees: it goes with
// this process.
import type { Native } from '../../native/addon/index.ts';

/** Timers for freezes that last: peers go on trying for hours, and every second (facts: TCP during long freezes). */
const settings = [
  'ipv4/tcp_rto_max_ms=1000',
  'ipv4/tcp_retries2=255',
  'ipv4/tcp_syn_retries=127',
  'ipv4/ping_group_range=0 2147483647',
];
const ofIPv4Alone = [...settings, 'ipv6/conf/all/disable_ipv6=1', ''].join('\n');
/** Addresses are those that it is given, and there at once. */
const ofBoth = [
  ...settings,
  ...['accept_ra=0', 'autoconf=0', 'addr_gen_mode=1', 'accept_dad=0'].map(
    (each) => `ipv6/conf/default/${each}`,
  ),
  '',
].join('\n');
/** Beside the launch of a sandbox there is no time for it. */
const spareAfterMs = 100;

export class Namespaces implements Disposable {
  readonly #native: Native;
  #spare: number | null = null;
  #sparing: NodeJS.Timeout | null = null;

  constructor(native: Native) {
    this.#native = native;
    this.#keepSpare();
  }

  [Symbol.dispose](): void {
    if (this.#sparing) clearTimeout(this.#sparing);
    if (this.#spare !== null) this.#native.close(this.#spare);
  }

  /** Descriptor of one, which the caller closes; it lives as long as it is held or somebody is in it. */
  take(hasSix: boolean): number {
    if (hasSix) return this.#native.netnsNew(ofBoth);
    const netns = this.#spare ?? this.#native.netnsNew(ofIPv4Alone);
    this.#spare = null;
    this.#keepSpare();
    return netns;
  }

  #keepSpare(): void {
    this.#sparing ??= setTimeout(() => {
      this.#sparing = null;
      this.#spare ??= this.#native.netnsNew(ofIPv4Alone);
    }, spareAfterMs).unref();
  }
}
