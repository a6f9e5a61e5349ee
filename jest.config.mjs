// Unit tests of the front end, in a simulated browser. Types are checked by `jlpm lint:check`,
// so swc only strips them.

// Published as ES modules only, which jest cannot load as they are.
const esModules = ['@jupyter', '@jupyterlab', '@microsoft', 'exenv-es6', 'vscode-ws-jsonrpc'];

export default {
  testEnvironment: '<rootDir>/labext/src/__tests__/support/environment.ts',
  roots: ['<rootDir>/labext/src'],
  testMatch: ['**/__tests__/**/*.spec.{ts,tsx}'],
  // Not jsdom's "browser" condition: some packages offer ES modules alone under it.
  testEnvironmentOptions: { customExportConditions: ['node', 'require', 'default'] },
  moduleNameMapper: {
    '\\.css$': '<rootDir>/labext/src/__tests__/support/asset.ts',
    '\\.svg$': '<rootDir>/labext/src/__tests__/support/asset.ts'
  },
  transform: {
    '\\.[cm]?[jt]sx?$': [
      '@swc/jest',
      {
        jsc: {
          parser: { syntax: 'typescript', tsx: true },
          transform: { react: { runtime: 'automatic' } },
          target: 'es2022'
        },
        module: { type: 'commonjs' }
      }
    ]
  },
  transformIgnorePatterns: [`/node_modules/(?!(${esModules.join('|')})/)`],
  cacheDirectory: '<rootDir>/.jest-cache'
};
