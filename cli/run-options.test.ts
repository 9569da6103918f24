import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseRun, runHelp, UsageError } from './run-options.ts';

const words = (text: string): string[] => text.split(' ');

describe('parseRun', () => {
  it("takes mpiexec's spelling and kubectl's", () => {
    const hydra = parseRun(
      words('-np 4 -hosts a,b -ppn 2 -genv A 1 -env B 2 -wdir /x -prepend-rank ./cpi 100'),
    );
    const ours = parseRun(words('-n 4 --nodes=a,b --ppn 2 --env B=2 --wdir /x -l -genv A 1 ./cpi 100'));
    expect(ours).toEqual(hydra);
    expect(hydra.programs).toEqual([{ count: 4, argv: ['./cpi', '100'], env: { B: '2' }, workingDir: '/x' }]);
    expect(hydra).toMatchObject({ nodes: ['a', 'b'], ranksPerNode: 2, labels: true, env: { A: '1' } });
  });

  it('takes several programs, each with options of its own', () => {
    const { programs } = parseRun(words('-n 1 --env K=a ./ocean x : -n 3 ./atmosphere'));
    expect(programs).toEqual([
      { count: 1, argv: ['./ocean', 'x'], env: { K: 'a' } },
      { count: 3, argv: ['./atmosphere'], env: {} },
    ]);
  });

  it("leaves the program's own options alone", () => {
    expect(parseRun(words('-l grep -l -n 3 x')).programs[0]?.argv).toEqual(words('grep -l -n 3 x'));
    expect(parseRun(words('-n 2 -- -odd')).programs[0]?.argv).toEqual(['-odd']);
  });

  it.each([
    ['', /no program given/],
    ['-n 2', /no program given/],
    ['-n 2 a :', /after ":"/],
    ['-n 0 a', /-n 0: expected a whole number from 1 to 1048576/],
    ['-n 10000000 a', /expected a whole number/],
    ['-n 1048576 a : -n 1 b', /1048577 ranks/],
    ['-n', /-n needs N/],
    ['--env K a', /expected NAME=VALUE/],
    ['--policy sideways a', /expected one of block, cyclic/],
    ['--stdin constructor a', /expected one of/],
    ['--nosuch a', /unknown option --nosuch/],
    ['--hosts=a --label=1 x', /--label takes no value/],
    ['-ranks 2 a', /did you mean --ranks/],
  ])('refuses "%s"', (text, message) => {
    const given = text === '' ? [] : words(text);
    expect(() => parseRun(given)).toThrow(UsageError);
    expect(() => parseRun(given)).toThrow(message);
  });

  it('throws nothing but UsageError, whatever it is given', () => {
    const word = fc.oneof(
      fc.string(),
      fc.constantFrom('-n', '-l', ':', '--env', '-env', '--', '-np', 'a=b', '-1'),
    );
    fc.assert(
      fc.property(fc.array(word), (given) => {
        try {
          parseRun(given);
        } catch (error) {
          expect(error).toBeInstanceOf(UsageError);
        }
      }),
    );
  });

  it('has every option in its help', () => {
    expect(runHelp()).toMatch(/--nodes/);
    expect(
      runHelp()
        .split('\n')
        .every((line) => line.length <= 120),
    ).toBe(true);
  });
});
