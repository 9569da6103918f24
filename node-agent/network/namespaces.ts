// Network namespaces for sandboxes, with the settings that ranks find there. The kernel takes some milliseconds for one, so two are kept
// in reserve, which nobody sees: they go with this process. They are made beside the loop, one at a time.
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
const sparesMost = 2;

export class Namespaces implements Disposable {
  readonly #native: Native;
  readonly #spares: number[] = [];
  #isMaking = false;
  #isDisposed = false;

  constructor(native: Native) {
    this.#native = native;
    this.refill();
  }

  [Symbol.dispose](): void {
    this.#isDisposed = true;
    for (const spare of this.#spares.splice(0)) this.#native.close(spare);
  }

  /** Descriptor of one, which the caller closes; it lives as long as it is held or somebody is in it. */
  take(hasSix: boolean): number {
    if (hasSix) return this.#native.netnsNew(ofBoth);
    return this.#spares.pop() ?? this.#native.netnsNew(ofIPv4Alone);
  }

  /** To be asked for when there is time: not beside the launch of a sandbox. */
  refill(): void {
    if (this.#isMaking || this.#isDisposed || this.#spares.length >= sparesMost) return;
    this.#isMaking = true;
    this.#native.netnsMake(ofIPv4Alone).then(
      (spare) => {
        this.#isMaking = false;
        if (this.#isDisposed) this.#native.close(spare);
        else this.#spares.push(spare);
        this.refill();
      },
      () => {
        this.#isMaking = false; // whoever takes one hears of it
      },
    );
  }
}
