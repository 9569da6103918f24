/**
 * What Pods of the tests run: the user's own image, Muster's as the Dockerfile has it (scripts/image-root.sh, and what it takes from
 * Debian's packages), and what a Pod itself waits in.
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { checkout, program } from '../e2e/cluster.ts';
import { librariesOf, type ImageContents } from './images.ts';

const waiter = `${checkout}/build/native/carrier-wait`;
const imageRoot = join(checkout, 'build/image-root');
execFileSync('scripts/image-root.sh', [imageRoot]);
// What the image takes from Debian's packages: the libraries of Node, the network of jobs, and what every Debian has.
const nodeLibraries = Object.fromEntries(
  librariesOf(execFileSync('scripts/node-path.sh', { encoding: 'utf8' }).trim()).map((path) => [path, path]),
);
const debianTools = ['cat', 'chmod', 'dirname', 'mkdir', 'mv', 'sh', 'touch'].map((name) => `/bin/${name}`);
debianTools.push(...['find', 'nsenter', 'tail', 'taskset', 'truncate'].map((name) => `/usr/bin/${name}`));
const shellTools = ['sh', 'cat', 'sleep', 'id', 'ls', 'mount', 'touch', 'hostname', 'mkdir', 'dd', 'stat'];
export const images: Readonly<Record<string, ImageContents>> = {
  'local/pause:1': { files: { '/pause': waiter }, entrypoint: ['/pause'] },
  'local/muster:1': {
    trees: { '/opt/muster': imageRoot },
    files: {
      ...Object.fromEntries([...debianTools, '/usr/sbin/ip', '/usr/sbin/nft'].map((path) => [path, path])),
      ...nodeLibraries,
    },
    entrypoint: ['/opt/muster/bin/muster'],
  },
  'local/user:1': {
    files: {
      ...Object.fromEntries(shellTools.map((name) => [`/bin/${name}`, `/bin/${name}`])),
      '/bin/id': '/usr/bin/id',
      '/bin/stat': '/usr/bin/stat',
      '/opt/cpi': program('cpi'),
      '/opt/ring': program('ring'),
      '/opt/holder': program('holder'),
    },
    directories: ['home', 'work'],
    texts: { '/etc/image': 'the user’s own\n', '/etc/passwd': 'worker:x:65534:65534::/home:/bin/sh\n' },
  },
};
