import { spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import {
  chainsAt,
  iptablesLetsBridgesPass,
  letsBridgesPass,
  letsTunnelsPass,
  rulesOf,
  stopsAtEnd,
} from './other-rules.ts';

const listing = (...chains: object[]): string =>
  JSON.stringify({ nftables: [{ metainfo: {} }, ...chains.map((chain) => ({ chain }))] });
const forward = { family: 'ip', table: 'filter', name: 'FORWARD', hook: 'forward' };

/** As firewalld 1.3 writes it, but for what does not matter here. */
const firewalld = (zones = '', ports = ''): string => `table inet firewalld {
	chain filter_INPUT {
		type filter hook input priority filter + 10; policy accept;
		ct state { established, related } accept
		iifname "lo" accept
		goto filter_IN_public
		reject with icmpx admin-prohibited
	}

	chain filter_FORWARD {
		type filter hook forward priority filter + 10; policy accept;
		ct state { established, related } accept
		iifname "lo" accept
		${zones}
		ct state { invalid } drop
		reject with icmpx admin-prohibited
	}

	chain filter_FWD_trusted {
		accept
	}

	chain filter_IN_public {
		tcp dport 22 accept
		${ports}
	}
}
`;
const trusted = 'iifname "mb*" goto filter_FWD_trusted';

test('base chains of others are found', () => {
  const ours = { ...forward, family: 'inet', table: 'muster_ab12' };
  for (const other of [ours, { ...forward, family: 'bridge' }, { ...forward, hook: undefined }])
    expect(chainsAt('forward', listing(other))).toEqual([]);
  expect(chainsAt('forward', listing(forward))).toEqual([forward]);
  expect(chainsAt('input', listing(forward))).toEqual([]);
});

test('a chain stops what it was not told of by its policy, or by its last rule', () => {
  const head = (policy: string): string => `type filter hook forward priority filter; policy ${policy};`;
  const stops = (...rules: string[]): boolean => stopsAtEnd(rules);
  expect(stops(head('drop'))).toBe(true);
  expect(stops(head('accept'), 'ct state invalid drop', 'tcp dport 22 reject')).toBe(false);
  expect(stops(head('accept'), 'reject with icmpx admin-prohibited')).toBe(true);
  expect(stops(head('accept'), 'counter packets 7 bytes 420 reject')).toBe(true);
  expect(stops(head('accept'), 'log prefix "no: " counter packets 0 bytes 0 drop')).toBe(true);
  expect(stops(head('drop'), 'counter packets 7 bytes 420 accept')).toBe(false);
  expect(stops(...rulesOf(firewalld()).get('filter_FORWARD')!)).toBe(true);
});

test('what lets the bridges pass is seen in the words of both programs', () => {
  const inForward = (rule: string): string => `table ip filter {\n\tchain FORWARD {\n\t\t${rule}\n\t}\n}\n`;
  expect(letsBridgesPass(inForward('iifname "mb*" counter packets 0 bytes 0 accept'))).toBe(true);
  expect(letsBridgesPass(inForward('iifname { "mb*", "docker0" } accept'))).toBe(true);
  expect(letsBridgesPass(inForward('iifname "mb*" goto nowhere'))).toBe(false);
  expect(letsBridgesPass(firewalld(trusted))).toBe(true);
  expect(letsBridgesPass(firewalld())).toBe(false);
  expect(iptablesLetsBridgesPass('-P FORWARD DROP\n-A DOCKER-USER -i mb+ -j ACCEPT\n')).toBe(true);
  expect(iptablesLetsBridgesPass('-P FORWARD DROP\n-A FORWARD -i docker0 -j ACCEPT\n')).toBe(false);
});

test('what lets tunnels in is seen', () => {
  for (const rule of [
    'udp dport 20000-29999 accept',
    'udp dport { 53, 23456 } ct state { new } accept',
    'iifname "eth1" accept',
  ])
    expect(letsTunnelsPass(firewalld('', rule), 23_456), rule).toBe(true);
  for (const rule of [
    'udp dport 23457 accept',
    'iifname "eth1" tcp dport 23456 accept',
    'udp dport 23456 drop',
  ])
    expect(letsTunnelsPass(firewalld('', rule), 23_456), rule).toBe(false);
  expect(letsTunnelsPass(firewalld(), 23_456)).toBe(false);
});

describe('in a network namespace with such rules', () => {
  /** What `obstacleOnTheWay` and `obstacleToTunnels` say there. */
  function obstacles(rules: string): (string | null)[] {
    const script = `import { obstacleOnTheWay, obstacleToTunnels } from '${import.meta.dirname}/other-rules.ts';
      console.log(JSON.stringify([obstacleOnTheWay(), obstacleToTunnels(23456)]))`;
    const { stdout, stderr } = spawnSync(
      'unshare',
      ['-n', 'sh', '-ec', 'nft -f -; exec "$0" --input-type=module -e "$1"', process.execPath, script],
      { input: rules, encoding: 'utf8' },
    );
    expect(stderr).toBe('');
    return JSON.parse(stdout) as (string | null)[];
  }

  test.skipIf(process.getuid!() !== 0)('both obstacles are told with the commands of firewalld', () => {
    const [way, tunnels] = obstacles(firewalld());
    expect(way).toMatch(
      /^chain filter_FORWARD of table inet firewalld stops .*--zone=trusted --add-interface=mb\+;/,
    );
    expect(tunnels).toMatch(/^chain filter_INPUT of table inet firewalld stops .*--add-port=23456\/udp;/);
    expect(obstacles(firewalld(trusted, 'udp dport 23456 accept'))).toEqual([null, null]);
  });
});
