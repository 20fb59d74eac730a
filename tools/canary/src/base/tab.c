int	tab;
