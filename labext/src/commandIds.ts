/** The names of all commands, in one place because other extensions and keyboard shortcuts use them. */
export const CommandIds = {
  showPanel: 'cellspan:show-panel',
  newCluster: 'cellspan:new-cluster',
  start: 'cellspan:start-cluster',
  scale: 'cellspan:scale-cluster',
  stop: 'cellspan:stop-cluster',
  dismiss: 'cellspan:dismiss-cluster',
  attach: 'cellspan:attach-cluster',
  openView: 'cellspan:open-view',
  openLogs: 'cellspan:open-logs',
  refresh: 'cellspan:refresh-clusters'
} as const;
