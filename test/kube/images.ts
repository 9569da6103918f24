/**
 * Container images made of files of this machine, without registry or builder: a program with what it needs to run, as the archive
 * that `docker save` writes and containerd imports.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';

export interface ImageContents {
  /** Files by where they lie in the image; libraries of programs come along. */
  readonly files: Readonly<Record<string, string>>;
  /** That everybody may write to. */
  readonly directories?: readonly string[];
  /** Whole directories, as they are. */
  readonly trees?: Readonly<Record<string, string>>;
  readonly texts?: Readonly<Record<string, string>>;
  readonly entrypoint?: readonly string[];
}

/** Writes the archive of one image, to be imported. */
export function writeImage(archive: string, name: string, contents: ImageContents): void {
  const work = mkdtempSync(join(tmpdir(), 'muster-image-'));
  try {
    const root = join(work, 'root');
    for (const directory of ['tmp', 'run', ...(contents.directories ?? [])])
      mkdirSync(join(root, directory), { recursive: true });
    for (const directory of contents.directories ?? []) chmodSync(join(root, directory), 0o777);
    const put = (from: string, to: string): void => {
      mkdirSync(dirname(join(root, to)), { recursive: true });
      cpSync(realpathSync(from), join(root, to));
    };
    for (const [to, from] of Object.entries(contents.files)) {
      put(from, to);
      for (const library of librariesOf(from)) put(library, placeOf(library));
    }
    for (const [to, from] of Object.entries(contents.trees ?? {}))
      cpSync(from, join(root, to), { recursive: true, verbatimSymlinks: true });
    for (const [to, text] of Object.entries(contents.texts ?? {})) {
      mkdirSync(dirname(join(root, to)), { recursive: true });
      writeFileSync(join(root, to), text);
    }
    execFileSync('tar', ['--owner=0', '--group=0', '-cf', join(work, 'layer.tar'), '-C', root, '.']);
    const digest = createHash('sha256')
      .update(readFileSync(join(work, 'layer.tar')))
      .digest('hex');
    const config = {
      architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
      os: 'linux',
      config: {
        Entrypoint: contents.entrypoint ?? [],
        Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
      },
      rootfs: { type: 'layers', diff_ids: [`sha256:${digest}`] },
    };
    writeFileSync(join(work, 'config.json'), JSON.stringify(config));
    const manifest = [{ Config: 'config.json', RepoTags: [name], Layers: ['layer.tar'] }];
    writeFileSync(join(work, 'manifest.json'), JSON.stringify(manifest));
    execFileSync('tar', ['-cf', archive, '-C', work, 'manifest.json', 'config.json', 'layer.tar']);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Those that are not the system's lie where the loader looks by itself. */
const placeOf = (library: string): string =>
  /^(?:\/usr)?\/lib/.test(library) ? library : `/usr/lib/${basename(library)}`;

/** As the loader finds them; none of a static program. */
export function librariesOf(program: string): string[] {
  let text = '';
  try {
    text = execFileSync('ldd', [program], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  } catch {
    return [];
  }
  return [...text.matchAll(/(\/\S+) \(0x/g)].map((match) => match[1]!);
}
