import js from '@eslint/js';
import prettier from 'eslint-config-prettier';
import tseslint from 'typescript-eslint';

export default tseslint.config(
  {
    ignores: [
      '**/node_modules/',
      '.venv*/',
      'build/',
      'dist/',
      'labext/labextension/',
      'lib/',
      'ui-tests/playwright-report/',
      'ui-tests/test-results/'
    ]
  },
  js.configs.recommended,
  {
    files: ['labext/src/**/*.{ts,tsx}', 'ui-tests/tests/**/*.ts'],
    extends: [...tseslint.configs.strictTypeChecked],
    languageOptions: {
      parserOptions: {
        project: ['./tsconfig.test.json', './ui-tests/tsconfig.json'],
        tsconfigRootDir: import.meta.dirname
      }
    },
    rules: {
      // Also in strictTypeChecked; named because it is the rule this project stands on.
      '@typescript-eslint/no-floating-promises': 'error',
      // Plugins and tokens are `JupyterFrontEndPlugin<void>`.
      '@typescript-eslint/no-invalid-void-type': ['error', { allowInGenericTypeArguments: true }],
      // Numbers are what most labels are made of.
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      // Signal handlers and lumino's hooks take arguments they may not need.
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }]
    }
  },
  {
    // As for Python (tests/test_tidy.py).
    files: ['labext/src/**/*.{ts,tsx}'],
    ignores: ['**/__tests__/**'],
    rules: { 'max-lines': ['error', 500], 'max-lines-per-function': ['error', 70] }
  },
  {
    files: ['ui-tests/*.js'],
    languageOptions: { sourceType: 'commonjs', globals: { process: 'readonly' } }
  },
  // Last: layout is prettier's alone.
  prettier
);
