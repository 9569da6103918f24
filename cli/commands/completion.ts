/** `muster completion`: scripts made from the command table itself, so they never lag behind it. */
import type { Command } from 'commander';
import { CommandError } from '../errors.ts';
import type { Config } from '../config.ts';

const kinds = 'pg ckpt mig nm events';

export const completionFor =
  (program: Command) =>
  async (_config: Config, args: string[]): Promise<number> => {
    const shell = args[0] ?? '';
    const commands = program.commands.map((command) => ({
      name: command.name(),
      description: command.description(),
      options: command.options.flatMap((option) => option.long ?? option.short ?? []),
    }));
    const script = { bash: bashScript, zsh: zshScript, fish: fishScript }[shell];
    if (!script) throw new CommandError(`completion for "${shell}": expected bash, zsh or fish`, 2);
    process.stdout.write(script(commands));
    return 0;
  };

interface Entry {
  readonly name: string;
  readonly description: string;
  readonly options: readonly string[];
}

function bashScript(commands: readonly Entry[]): string {
  const cases = commands
    .map(({ name, options }) => `    ${name}) words="${[...options, '--help'].join(' ')}" ;;`)
    .join('\n');
  return `_muster() {
  local current="\${COMP_WORDS[COMP_CWORD]}" command="\${COMP_WORDS[1]}" words=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    words="${commands.map(({ name }) => name).join(' ')}"
  else
    case "$command" in
${cases}
    esac
    case "$current" in
    -*) ;;
    *)
      case "$command" in
      get|describe|delete)
        if [ "$COMP_CWORD" -eq 2 ]; then words="${kinds}"
        else words="$(muster get "\${COMP_WORDS[2]}" -o name 2>/dev/null | sed 's,.*/,,')"; fi ;;
      logs|ps|kill|suspend|resume|wait|checkpoint|migrate)
        words="$(muster get pg -o name 2>/dev/null | sed 's,.*/,,')" ;;
      drain|cordon|uncordon)
        words="$(muster get nm -o name 2>/dev/null | sed 's,.*/,,')" ;;
      checkpoints|restart)
        words="$(muster get ckpt -o name 2>/dev/null | sed 's,.*/,,')" ;;
      *) COMPREPLY=($(compgen -f -- "$current")); return ;;
      esac ;;
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _muster muster
`;
}

function zshScript(commands: readonly Entry[]): string {
  return `#compdef muster\nautoload -U bashcompinit && bashcompinit\n${bashScript(commands)}`;
}

function fishScript(commands: readonly Entry[]): string {
  const lines = commands.map(
    ({ name, description }) =>
      `complete -c muster -n __fish_use_subcommand -a ${name} -d '${description.replaceAll("'", "\\'")}'`,
  );
  const options = commands.flatMap(({ name, options: names }) =>
    names
      .filter((option) => option.startsWith('--'))
      .map((option) => `complete -c muster -n '__fish_seen_subcommand_from ${name}' -l ${option.slice(2)}`),
  );
  return `${[...lines, ...options].join('\n')}\n`;
}
