/**
 * Lint: the typed rules that catch lost promises and forgotten cases, and the direction of imports between the top folders.
 * Format is Prettier's and is no rule here.
 */
import tseslint from 'typescript-eslint';

/** What each folder may import of ours, besides itself. A folder that is not named here may import all. */
const mayImport = {
  crds: [],
  wire: [],
  native: [],
  store: ['crds'],
  controllers: ['crds', 'store', 'wire'],
  'node-agent': ['crds', 'wire', 'native'],
  dashboard: ['crds', 'wire'],
  cli: ['crds', 'store', 'wire', 'controllers', 'node-agent', 'native'],
};

const folders = [...Object.keys(mayImport), 'test', 'bench', 'scripts'];

const direction = Object.entries(mayImport).map(([folder, allowed]) => {
  const refused = folders.filter((other) => other !== folder && !allowed.includes(other)).join('|');
  return {
    files: [`${folder}/**/*.{ts,tsx}`],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            {
              // Only a path that climbs can leave the folder; `./store/x.ts` stays in it.
              regex: `^(\\.\\./)+(${refused})/`,
              message: `${folder}/ may import ${allowed.length > 0 ? allowed.map((name) => `${name}/`).join(', ') : 'nothing of ours'}: put the shared part where both may reach it.`,
            },
          ],
        },
      ],
    },
  };
});

export default tseslint.config(
  { ignores: ['build/', 'node_modules/', '**/*.gen.*', 'eslint.config.js', 'scripts/*.mjs', '.ci/'] },
  {
    files: ['**/*.{ts,tsx}'],
    extends: [tseslint.configs.base],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      // Promises: none lost, none where nobody waits.
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': ['error', { checksVoidReturn: { arguments: false } }],
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/return-await': ['error', 'in-try-catch'],
      // Cases: a new member of a union shows every switch that forgets it.
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true, requireDefaultForNonUnion: false },
      ],
      'no-fallthrough': 'error',
      // Types.
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-unsafe-return': 'error',
      '@typescript-eslint/no-unnecessary-type-assertion': 'error',
      '@typescript-eslint/no-for-in-array': 'error',
      '@typescript-eslint/no-base-to-string': 'error',
      '@typescript-eslint/restrict-plus-operands': 'error',
      '@typescript-eslint/only-throw-error': 'error',
      '@typescript-eslint/prefer-promise-reject-errors': 'error',
      '@typescript-eslint/no-unused-vars': [
        'error',
        { argsIgnorePattern: '^_', caughtErrors: 'none', varsIgnorePattern: '^_' },
      ],
      // Plain faults.
      eqeqeq: ['error', 'always', { null: 'ignore' }],
      'no-var': 'error',
      'prefer-const': ['error', { destructuring: 'all' }],
      'no-throw-literal': 'off',
      'no-console': 'off',
      'no-self-compare': 'error',
      'no-unreachable-loop': 'error',
      'no-unsafe-finally': 'error',
      'no-debugger': 'error',
      'no-dupe-else-if': 'error',
      'no-constant-binary-expression': 'error',
    },
  },
  ...direction,
  {
    // Tests, benchmarks and scripts drive everything, and read what they are given.
    files: ['**/*.test.ts', 'test/**/*.ts', 'bench/**/*.ts', 'scripts/**/*.ts'],
    rules: { '@typescript-eslint/only-throw-error': 'off' },
  },
);
